"""Flavors of JSON: how other programs write dates, times and bytes (contract §5.1, §9.7).

Text in the default way is taken in every flavor. A flavor says what a *number* in place of a date or a time
means, how bytes travel, and whether a VARIANT is JSON itself or JSON in a string.
"""

from dataclasses import dataclass

DAY = 86_400_000_000
MILLISECOND, MICROSECOND = 1000, 1


@dataclass(frozen=True)
class Flavor:
    """How one kind of writer encodes what JSON has no type for. Units are in microseconds."""

    date: int | None = None
    time: int | None = None
    timestamp: int | None = None
    zone: str = ""
    """What follows a written TIMESTAMP."""
    rfc3339: bool = False
    """Tells that a written TIMESTAMP has a T in the middle."""
    writes_dates_as_numbers: bool = True
    binary: str = "array"
    variant_is_text: bool = True


FLAVORS = {
    "default": Flavor(variant_is_text=False),
    "datagen": Flavor(variant_is_text=False, rfc3339=True, zone="+00:00"),
    "postgres": Flavor(variant_is_text=False, binary="postgres"),
    "pandas": Flavor(date=MILLISECOND, timestamp=MILLISECOND, writes_dates_as_numbers=False),
    "kafka_connect_json_converter": Flavor(date=DAY, time=MILLISECOND, timestamp=MILLISECOND),
    "debezium_mysql": Flavor(date=DAY, time=MICROSECOND, rfc3339=True, zone="Z"),
    "debezium_postgres": Flavor(date=DAY, time=MICROSECOND, timestamp=MILLISECOND),
    "snowflake": Flavor(rfc3339=True, zone="+00:00"),
    "blockchain": Flavor(binary="base58"),
    "c_hex": Flavor(binary="hex"),
    "ClockInput": Flavor(timestamp=MILLISECOND),
}
