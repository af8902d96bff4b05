"""NOW() in views: the time of the step, which stands in a table of ours that views read."""

from sqlglot import exp

from sluicegate.engine.functions import meaning
from sluicegate.engine.plan import NOW

MOMENTS = (
    *("NOW", "CURRENT_TIMESTAMP", "LOCALTIMESTAMP", "UTC_TIMESTAMP"),
    *("CURRENT_LOCALTIMESTAMP", "GET_CURRENT_TIMESTAMP", "TRANSACTION_TIMESTAMP"),
)
DAYS = ("CURRENT_DATE", "TODAY", "UTC_DATE")
HOURS = ("CURRENT_TIME", "LOCALTIME", "UTC_TIME", "CURRENT_LOCALTIME", "GET_CURRENT_TIME")
CALLS = {
    **dict.fromkeys(MOMENTS, "n"),
    **dict.fromkeys(DAYS, "CAST(n AS DATE)"),
    **dict.fromkeys(HOURS, "CAST(n AS TIME)"),
}
"""What a call means, where `n` is the time of the step."""
OF_ONE = {
    "AGE": "age(CAST(CAST(n AS DATE) AS TIMESTAMP), x)",
    "AGO": "n - CAST(x AS INTERVAL)",
}
"""What a call with one argument `x` means."""


def bind(query: exp.Expr) -> None:
    """Let a query read the time of the step wherever it asks for the time, as by NOW()."""
    for call in reversed(list(query.find_all(exp.Func))):  # the arguments of a call come before it
        body = _meaning(call)
        if body is not None and call.parent is not None:
            table = exp.Table(this=exp.to_identifier(NOW, quoted=True))
            time = exp.Select(expressions=[exp.column("now")], from_=exp.From(this=table))
            arguments = dict(zip("x", call.expressions, strict=False))
            call.replace(meaning(body, {"n": exp.Subquery(this=time), **arguments}))


def _meaning(call: exp.Func) -> str | None:
    if not isinstance(call, exp.Anonymous):
        in_a_zone = isinstance(call.this, exp.Expr) and not call.this.is_number
        return None if in_a_zone else CALLS.get(call.sql_name())
    name = call.name.upper()
    return OF_ONE.get(name) if len(call.expressions) == 1 else CALLS.get(name)


def read(query: exp.Expr) -> bool:
    """Tell whether a query reads the time of the step."""
    return any(table.name == NOW for table in query.find_all(exp.Table))
