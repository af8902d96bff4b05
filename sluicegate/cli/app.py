"""The commands, gathered under one name."""

import os
from typing import Annotated

import typer

from sluicegate.cli import access, data, development, keeping, operating, pipelines, verbs
from sluicegate.cli.session import CURRENT, Reporting, Session

EXAMPLES = """
\b
Examples:
  sluicegate dev                                    run everything on this machine
  sluicegate create flights flights.sql             create a pipeline from a SQL file
  sluicegate start flights                          start it and wait until it runs
  sluicegate ingest flights arrivals arrivals.csv   send rows to one of its tables
  sluicegate query flights 'SELECT * FROM delays'   look at a view
  sluicegate stop flights                           take a checkpoint and stop

Each command explains itself: sluicegate COMMAND --help
"""

app = typer.Typer(
    cls=Reporting,
    help="Durable SQL pipelines: create, run, watch and query them.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="SLUICEGATE_URL",
            help="Address of the API; else that of `sluicegate dev` with the same settings.",
            show_default="http://127.0.0.1:8080",
        ),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="SLUICEGATE_API_KEY", help="Key, where the API wants one.")
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(envvar="SLUICEGATE_TENANT", help="Name or id of the tenant, where you have several."),
    ] = None,
) -> None:
    """Durable SQL pipelines: create, run, watch and query them."""
    port = os.environ.get("SLUICEGATE_API_PORT", "8080")
    CURRENT.set(Session(url or f"http://127.0.0.1:{port}", api_key, tenant))


for module in (development, pipelines, verbs, keeping, data, access, operating):
    module.register(app)
