"""What the expressions of all families stand on: the index of a value and what is drawn for it."""

from dataclasses import dataclass

NUMBER = "HUGEINT"
"""What is computed with before a value gets its own type: no product of an index and a scale exceeds it."""
DRAWS = 1 << 64
LARGEST = (1 << 127) - 1


@dataclass(frozen=True)
class At:
    """Where a value stands: in which row, and which element of which lists there."""

    path: str
    """Names of the column and of the fields within."""
    index: str = "n"
    """Expression of the index: that of the row, or that of the element."""
    elements: tuple[str, ...] = ()
    """Variables that tell the elements of a row apart."""

    def field(self, name: str) -> "At":
        """Return the place of a field of a row type."""
        return At(f"{self.path}.{name}", self.index, self.elements)

    def element(self) -> "At":
        """Return the place of an element of a list; its variable is its index."""
        variable = f"i{len(self.elements)}"
        return At(f"{self.path}[]", variable, (*self.elements, variable))

    def draw(self, purpose: str = "") -> str:
        """Return the expression of a random UBIGINT, another one for each purpose."""
        salt = text(f"{self.path}/{purpose}")
        return f"hash({', '.join(['s', salt, *self.elements])})"

    def below(self, span: int, purpose: str = "") -> str:
        """Return the expression of a random number from 0 up to, and without, `span`."""
        if span <= DRAWS:
            return f"(CAST({self.draw(purpose)} AS {NUMBER}) % {number(max(span, 1))})"
        wide = f"(CAST({self.draw(purpose)} AS UHUGEINT) * {DRAWS} + {self.draw(purpose + '+')})"
        return f"CAST({wide} % CAST({span} AS UHUGEINT) AS {NUMBER})"

    def between(self, low: int, high: int) -> str:
        """Return the expression of a random number from `low` up to, and without, `high`."""
        span = high - low
        if span <= LARGEST:
            return f"({number(low)} + {self.below(span)})"
        halves = (f"{number(at)} + {self.below(span // 2)}" for at in (low, low + span // 2))
        return f"(CASE WHEN {self.draw('half')} % 2 = 0 THEN {' ELSE '.join(halves)} END)"

    def fraction(self, purpose: str = "") -> str:
        """Return the expression of a random DOUBLE from 0 up to, and without, 1."""
        return f"((CAST({self.draw(purpose)} >> 11 AS DOUBLE)) / {float(1 << 53)!r})"

    def rank(self, ranks: int, exponent: int) -> str:
        """Return the expression of a rank from 0 to `ranks - 1`; that of `k - 1` weighs `k ** -exponent`.

        The frequencies are those of the continuous distribution, rounded: close to Zipf's own.
        """
        low, high, drawn = 0.5, max(ranks, 1) + 0.5, self.fraction()
        if exponent == 1:
            place = f"{low!r} * pow({high / low!r}, {drawn})"
        else:
            power = 1 - exponent
            start, end = low**power, high**power
            place = f"pow({start!r} + ({end - start!r}) * {drawn}, {1 / power!r})"
        rank = f"CAST(round({place}) AS {NUMBER})"
        return f"(least(greatest({rank}, 1), {max(ranks, 1)}) - 1)"

    def scaled(self, factor: int, bound: int | None = None) -> str:
        """Return the expression of the index times a scale, below a bound."""
        product = f"(CAST({self.index} AS {NUMBER}) * {number(factor)})"
        return product if bound is None else f"({product} % {number(max(bound, 1))})"


def number(value: int) -> str:
    """Return an integer as an expression."""
    return f"CAST('{value}' AS {NUMBER})"


def text(value: str) -> str:
    """Return a text as an expression."""
    return "'" + value.replace("'", "''") + "'"
