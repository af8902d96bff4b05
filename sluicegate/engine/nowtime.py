"""NOW() in views: the time of the step, which stands in a table of ours that views read."""

from sqlglot import exp

from sluicegate.engine.plan import NOW

CALLS = {"NOW", "CURRENT_TIMESTAMP", "LOCALTIMESTAMP"}


def bind(query: exp.Expr) -> None:
    """Let a query read the time of the step wherever it calls NOW()."""
    for call in list(query.find_all(exp.Func)):
        name = call.name if isinstance(call, exp.Anonymous) else call.sql_name()
        if name.upper() in CALLS and call.parent is not None:
            table = exp.Table(this=exp.to_identifier(NOW, quoted=True))
            time = exp.Select(expressions=[exp.column("now")], from_=exp.From(this=table))
            call.replace(exp.Subquery(this=time))


def read(query: exp.Expr) -> bool:
    """Tell whether a query reads the time of the step."""
    return any(table.name == NOW for table in query.find_all(exp.Table))
