"""Cron expressions: which ones a schedule may have, told before anything is stored.

    ┌ minute 0-59   ┌ hour 0-23   ┌ day of month 1-31   ┌ month 1-12, jan-dec   ┌ day of week 0-7, sun-sat
    *               *             *                     *                       *

Each field is `*` or a list of values and ranges, each with a step: `*/15`, `1-5`, `mon,wed`, `10-20/5`. With
seven fields the first is the second, one number, since a pipeline is started or stopped once a minute at
most, and the last the year. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` stand for what they say.
All of it is what Temporal understands, which reckons the times; the second is 0 where none is given.
"""

import re
from typing import NamedTuple

from sluicegate.lifecycle.refusals import InvalidSchedule

MAX_CRON = 200
SHORTHANDS = frozenset({"@hourly", "@daily", "@weekly", "@monthly", "@yearly"})
_PART = re.compile(r"(\*|[0-9]{1,4}|[a-z]{3})(?:-([0-9]{1,4}|[a-z]{3}))?(?:/([0-9]{1,4}))?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class _Field(NamedTuple):
    name: str
    least: int
    most: int
    words: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        if text in self.words:
            return self.words.index(text) + self.least
        if not text.isdigit() or not self.least <= int(text) <= self.most:
            raise InvalidSchedule(reason=f"the {self.name} '{text}' is not from {self.least} to {self.most}")
        return int(text)

    def check(self, text: str) -> None:
        for part in text.split(","):
            found = _PART.fullmatch(part)
            if found is None or (found[1] == "*" and found[2]):
                raise InvalidSchedule(reason=f"the {self.name} '{part}' is not understood")
            numbers = [self.number(number) for number in found.group(1, 2) if number not in (None, "*")]
            if numbers != sorted(numbers):
                raise InvalidSchedule(reason=f"the {self.name} '{part}' ends before it begins")
            if found[3] is not None and not 0 < int(found[3]) <= self.most:
                raise InvalidSchedule(reason=f"the {self.name} '{part}' has a step of {found[3]}")


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _DAYS),
)
_SECOND = _Field("second", 0, 59)
_YEAR = _Field("year", 2000, 2100)


def check(text: str) -> str:
    """Return a cron expression, tidied up. Raises InvalidSchedule with the first thing that is wrong."""
    words = text.lower().split() if len(text) <= MAX_CRON else []
    if words and words[0] in SHORTHANDS and len(words) == 1:
        return words[0]
    if len(words) not in (5, 7):
        raise InvalidSchedule(
            reason="cron has five fields (minute, hour, day of the month, month, day of the week),"
            " or seven with a second before and a year behind"
        )
    fields = words
    if len(words) == 7:
        if not words[0].isdigit():
            raise InvalidSchedule(reason=f"the second '{words[0]}' is not one number")
        _SECOND.check(words[0])
        _YEAR.check(words[6])
        fields = words[1:6]
    for field, word in zip(_FIELDS, fields, strict=True):
        field.check(word)
    return " ".join(words)
