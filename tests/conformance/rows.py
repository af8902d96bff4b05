"""Reads the conformance tables, Markdown files of this folder, and turns each row into cases.

    # 2.1 POST /start                  a paragraph of the contract
    ## 3. initial not in the words     one row of its table, by its number there, in words of our own
    | state | call | answer | details | then |

Several states or calls in a cell, separated by `;`, are as many cases. In a cell,

* *state* is one of `states.STATES`,
* *call* is method and path below the pipeline (or an absolute path), then a JSON body,
* *answer* is the status, then what is said: an error code, some keys of the body as JSON (or all of it where
  it is a text or `exactly` comes first), `text`, `empty`, `info` for the pipeline, `list` for a list with
  it; then, after a comma, the headers, `no Retry-After` among them,
* *details* are those of the error as JSON,
* *then* is what becomes of the pipeline: it is `unchanged`, `gone`, `renamed …`, shows values of its keys in
  the end, or `only` these have changed; `told …` is what its process is told. A refusal leaves it unchanged.

In bodies, details and the rest, `NAME` is the name of the pipeline, `TAKEN` that of another one, `…` stands
for any text, and `{{"x"*3}}` for `"xxx"`.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_COLUMNS = ["state", "call", "answer", "details", "then"]
_ANY = "…"
_NEXT_CALL = re.compile(r";\s+(?=(?:GET|POST|PUT|PATCH|DELETE)\b)")
_NEXT_PART = re.compile(r",\s+(?=[a-z_.]+=|told |unchanged|gone|renamed |only )")
_OWN = re.compile(r"(?<![A-Z])NAME")
_REPEATED = re.compile(r"\{\{(.+?)\*(\d+)\}\}")


@dataclass(frozen=True)
class Answer:
    """What is expected of an answer."""

    status: int
    says: str
    headers: tuple[tuple[str, str | None], ...]
    details: str

    @property
    def is_refusal(self) -> bool:
        """Whether the call has no effect."""
        return self.status >= 400


@dataclass(frozen=True)
class Case:
    """One call in one state."""

    paragraph: str
    row: str
    about: str
    state: str
    call: str
    body: str
    answer: Answer
    then: str

    @property
    def id(self) -> str:
        """Name it in the output of the tests."""
        return f"{self.paragraph} row {self.row}: {self.state}: {self.call} {self.body}".strip()

    @property
    def changes(self) -> bool:
        """Whether the pipeline is another one afterwards, so that no other case can have it."""
        return not self.answer.is_refusal and then(self.then).word not in ("unchanged", "only")


def cases(*names: str) -> tuple[Case, ...]:
    """Read tables. Raises ValueError where one is malformed or a row has no case."""
    return tuple(case for name in names for case in _table(FOLDER / f"{name}.md"))


def _table(path: Path) -> list[Case]:
    found: list[Case] = []
    paragraph = row = about = ""
    without: str | None = None
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            if without:
                raise ValueError(f"{path.name}: no case of {without}")
            if heading := re.fullmatch(r"# (\S+) .*", line):
                paragraph, without = heading[1], None
            elif heading := re.fullmatch(r"## (\S+)\. (.*)", line):
                row, about, without = heading[1], heading[2], line
            else:
                raise ValueError(f"{path.name}: {line}")
        elif line.startswith("|") and (cells := _cells(line)) != _COLUMNS and not set(line) <= set("|- "):
            found += _expanded(paragraph, row, about, cells)
            without = None
    if without:
        raise ValueError(f"{path.name}: no case of {without}")
    return found


def _cells(line: str) -> list[str]:
    cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
    if len(cells) != len(_COLUMNS):
        raise ValueError(f"{len(_COLUMNS)} cells are expected: {line}")
    return cells


def _expanded(paragraph: str, row: str, about: str, cells: list[str]) -> list[Case]:
    states, calls, answer, details, then = cells
    expected = _answer(answer, details)
    if not expected.is_refusal and not then:
        raise ValueError(f"{paragraph} row {row}: say what the pipeline shows then")
    made = []
    for state in states.split(";"):
        for call in _NEXT_CALL.split(calls):
            target, brace, body = call.strip().partition(" {")
            made.append(
                Case(
                    paragraph=paragraph,
                    row=row,
                    about=about,
                    state=state.strip(),
                    call=target,
                    body=brace.strip() + body,
                    answer=expected,
                    then=then,
                )
            )
    return made


def _answer(cell: str, details: str) -> Answer:
    said, *headers = re.split(r", (?=no [A-Z]|[A-Z][A-Za-z-]+:)", cell)
    status, _, says = said.partition(" ")
    wanted: list[tuple[str, str | None]] = []
    for header in headers:
        name, _, value = header.partition(": ")
        wanted.append((name.removeprefix("no "), None if header.startswith("no ") else value))
    return Answer(int(status), says, tuple(wanted), details)


def matches(pattern: Any, found: Any) -> bool:
    """Whether a JSON value is as a table has it; `…` in a text stands for anything there."""
    if isinstance(pattern, dict) and isinstance(found, dict):
        return pattern.keys() == found.keys() and all(matches(pattern[key], found[key]) for key in pattern)
    if isinstance(pattern, str) and _ANY in pattern:
        parts = [re.escape(part) for part in pattern.split(_ANY)]
        text = found if isinstance(found, str) else json.dumps(found)
        return re.fullmatch(".*".join(parts), text, re.DOTALL) is not None
    return type(pattern) is type(found) and bool(pattern == found)


def filled(text: str, name: str, taken: str) -> str:
    """Put names and repetitions into a cell."""
    named = _OWN.sub(name, text).replace("TAKEN", taken)
    return _REPEATED.sub(lambda m: json.dumps(json.loads(m[1]) * int(m[2]), ensure_ascii=False), named)


@dataclass(frozen=True)
class Then:
    """What becomes of a pipeline."""

    word: str
    """`unchanged`, `only`, `gone`, `renamed` or `shows`."""
    values: dict[str, Any]
    told: tuple[str, ...] = ()
    name: str = ""


def then(cell: str) -> Then:
    """Read the last cell."""
    word, name = "shows" if cell else "unchanged", ""
    values: dict[str, Any] = {}
    told: list[str] = []
    for part in filter(None, _NEXT_PART.split(cell)):
        if part.startswith("told "):
            told.append(part.removeprefix("told "))
        elif part in ("unchanged", "gone"):
            word = part
        elif part.startswith("renamed "):
            word, name = "renamed", part.removeprefix("renamed ")
        else:
            word = "only" if part.startswith("only ") else word
            key, _, value = part.removeprefix("only ").partition("=")
            values[key] = _literal(value)
    return Then(word, values, tuple(told), name)


def at(shown: dict[str, Any], path: str) -> Any:
    """The value at a dotted path."""
    found: Any = shown
    for key in path.split("."):
        found = found[key]
    return found


def _literal(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word
