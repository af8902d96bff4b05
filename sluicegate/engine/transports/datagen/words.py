"""Texts about people, places and work: the strategies of datagen that Faker answers, one row at a time."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sluicegate.engine.transports.protocol import BadConfig

Make = Callable[[Any, int], Any]
"""From Faker and a count to a text."""

TITLES = ("Mr.", "Mrs.", "Ms.", "Miss", "Dr.", "Prof.")
SENIORITY = ("Junior", "Senior", "Lead", "Principal", "Chief", "Associate")
FIELDS = ("Accounting", "Design", "Education", "Engineering", "Finance", "Legal", "Marketing", "Sales")
POSITIONS = ("Administrator", "Agent", "Analyst", "Assistant", "Consultant", "Manager", "Supervisor")
INDUSTRIES = (
    *("Agriculture", "Automotive", "Banking", "Construction", "Education", "Energy", "Health care"),
    *("Hospitality", "Insurance", "Logistics", "Media", "Retail", "Software", "Telecommunications"),
)
UNITS = ("Apt.", "Suite")
VALID_STATUS = (200, 201, 202, 204, 301, 302, 304, 400, 401, 403, 404, 409, 410, 429, 500, 502, 503)
RFC_STATUS = (
    *(100, 101, 200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402),
    *(403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 426),
    *(428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 511),
)


def _named(method: str) -> Make:
    return lambda faker, _: getattr(faker, method)()


def _one_of(choices: tuple[Any, ...]) -> Make:
    return lambda faker, _: str(faker.random_element(choices))


def _company(words: str, place: int) -> Make:
    """Choose from a list of Faker's own that has no method."""
    return lambda faker, _: faker.random_element(_company_words(words)[place])


def _job(faker: Any, _: int) -> str:
    return " ".join(map(faker.random_element, (SENIORITY, FIELDS, POSITIONS)))


STRATEGIES: dict[str, Make] = {
    "word": _named("word"),
    "words": lambda faker, count: " ".join(faker.words(count)),
    "sentence": _named("sentence"),
    "sentences": lambda faker, count: " ".join(faker.sentences(count)),
    "paragraph": _named("paragraph"),
    "paragraphs": lambda faker, count: "\n".join(faker.paragraphs(count)),
    **{name: _named(name) for name in ("first_name", "last_name", "suffix", "name", "phone_number")},
    "title": _one_of(TITLES),
    "name_with_title": lambda faker, _: f"{faker.random_element(TITLES)} {faker.name()}",
    "cell_number": lambda faker, _: faker.numerify("%##-%##-####"),
    "domain_suffix": _named("tld"),
    "username": _named("user_name"),
    **{name: _named(name) for name in ("email", "password", "ipv4", "ipv6", "mac_address", "user_agent")},
    "ip": lambda faker, _: faker.ipv4() if faker.boolean() else faker.ipv6(),
    "rfc_status_code": _one_of(RFC_STATUS),
    "valid_status_code": _one_of(VALID_STATUS),
    "field": _one_of(FIELDS),
    "position": _one_of(POSITIONS),
    "seniority": _one_of(SENIORITY),
    "job_title": _job,
    "company_suffix": _named("company_suffix"),
    "company_name": _named("company"),
    "buzzword": _company("catch_phrase_words", 0),
    "buzzword_middle": _company("catch_phrase_words", 1),
    "buzzword_tail": _company("catch_phrase_words", 2),
    "catch_phrase": _named("catch_phrase"),
    "bs_verb": _company("bsWords", 0),
    "bs_adj": _company("bsWords", 1),
    "bs_noun": _company("bsWords", 2),
    "bs": _named("bs"),
    "profession": _named("job"),
    "industry": _one_of(INDUSTRIES),
    **{name: _named(name) for name in ("currency_code", "currency_name", "currency_symbol")},
    **{name: _named(name) for name in ("credit_card_number", "city_prefix", "city_suffix", "country_code")},
    "city_name": _named("city"),
    "country_name": _named("country"),
    "street_suffix": _named("street_suffix"),
    "street_name": _named("street_name"),
    "time_zone": _named("timezone"),
    "state_name": _named("state"),
    "state_abbr": _named("state_abbr"),
    "secondary_address_type": _one_of(UNITS),
    "secondary_address": _named("secondary_address"),
    "zip_code": _named("zipcode"),
    "post_code": _named("postcode"),
    "building_number": _named("building_number"),
    "latitude": lambda faker, _: str(faker.latitude()),
    "longitude": lambda faker, _: str(faker.longitude()),
    "isbn": _named("isbn13"),
    "isbn10": _named("isbn10"),
    "isbn13": _named("isbn13"),
    "file_path": _named("file_path"),
    "file_name": _named("file_path"),  # as the reference has it
    "file_extension": _named("file_extension"),
    "dir_path": _named("file_extension"),  # as the reference has it
}
PLURAL = {"words": (2, 4), "sentences": (2, 4), "paragraphs": (2, 4)}
"""Strategies that make several, with the count that they make where no range is given."""
MOST = 1_000
"""Words, sentences or paragraphs in one text."""


@dataclass(frozen=True)
class Words:
    """A column of texts that Python makes."""

    strategy: str
    path: str
    least: int
    most: int
    many: int | None = None
    """How many texts each row has, where it has a list of them."""

    def texts(self, seed: int, rows: range) -> list[Any]:
        """Return the texts of some rows."""
        faker, make, salt = _faker(), STRATEGIES[self.strategy], zlib.crc32(self.path.encode())
        made = []
        for row in rows:
            # Text seeds mix well, which the seeds of rows that follow each other would not.
            faker.seed_instance(f"{seed + row}/{salt}")
            count = faker.random.randrange(self.least, self.most)
            if self.many is None:
                made.append(make(faker, count))
            else:
                made.append([make(faker, count) for _ in range(self.many)])
        return made


def words(where: str, strategy: str, path: str, span: list[Any] | None, many: int | None) -> Words:
    """Return the column of a field; raises BadConfig."""
    least, most = span or PLURAL.get(strategy, (1, 2))
    if not all(isinstance(bound, int) and not isinstance(bound, bool) for bound in (least, most)):
        raise BadConfig(f"{where} has a range that is not of integers")
    if strategy not in PLURAL:
        least, most = 1, 2
    if not 0 <= least < most <= MOST:
        raise BadConfig(f"{where} has the range [{least}, {most}], which must lie within 0 and {MOST}")
    return Words(strategy, path, least, most, many)


@cache
def _faker() -> Any:
    from faker import Faker

    # Without weights, since to draw by them takes ten times as long.
    return Faker("en_US", use_weighting=False).factories[0]


@cache
def _company_words(name: str) -> Any:
    return next(getattr(found, name) for found in _faker().get_providers() if hasattr(found, name))
