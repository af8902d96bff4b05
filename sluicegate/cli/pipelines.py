"""`list`, `show`, `create`, `edit`, `delete`: pipelines as things."""

from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli.session import (
    Json,
    Name,
    Timeout,
    Wait,
    connect,
    console,
    print_json,
    print_pipeline,
    waiting,
)

if TYPE_CHECKING:
    from sluicegate.client import Client, Pipeline

COLOURS = {"Running": "green", "Paused": "yellow", "Stopped": "dim"}


def list_pipelines(as_json: Json = False) -> None:
    """List your pipelines, oldest first."""
    with connect() as client:
        found = client.pipelines()
    if as_json:
        print_json([dict(pipeline.raw) for pipeline in found])
        return
    if not found:
        typer.echo("No pipelines yet. Make one with: sluicegate create NAME PROGRAM.sql")
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("name", "status", "wanted", "program", "storage", "since", box=None, pad_edge=False)
    for pipeline in found:
        colour = "red" if pipeline.error else COLOURS.get(pipeline.status, "cyan")
        table.add_row(
            escape(pipeline.name),
            f"[{colour}]{pipeline.status}[/]",
            pipeline.desired_status,
            pipeline.program_status,
            pipeline.storage_status,
            pipeline.since,
        )
    console().print(table)


def show(name: Name, as_json: Json = False) -> None:
    """Show all there is to know of one pipeline, its last error and its compiler messages included."""
    from sluicegate.cli.arrival import compile_messages

    with connect() as client:
        pipeline = client.pipeline(name, selector="all")
    if as_json:
        print_json(dict(pipeline.raw))
        return
    rows = {
        "name": pipeline.name,
        "id": pipeline.id,
        "description": pipeline.raw.get("description"),
        "status": f"{pipeline.status} since {pipeline.since}",
        "wanted": pipeline.desired_status,
        "program": f"{pipeline.program_status}, version {pipeline.raw.get('program_version')}",
        "storage": pipeline.storage_status,
        "error": pipeline.error and pipeline.error.get("message"),
    }
    for key, value in rows.items():
        if value:
            typer.echo(f"{key:<12} {value}")
    for line in compile_messages(pipeline.raw):
        typer.echo(f"{'compiler':<12} {line}")


Program = Annotated[
    typer.FileText,
    typer.Argument(metavar="PROGRAM.sql", encoding="utf-8", help="File with the program; - reads the input."),
]


def create(
    name: Name, program: Program, wait: Wait = True, timeout: Timeout = 120, as_json: Json = False
) -> None:
    """Create a pipeline from a SQL program and wait until it is compiled.

    The program consists of CREATE TABLE and CREATE VIEW statements; rows enter the tables, answers
    appear in the views.
    """
    with connect() as client:
        made = client.create(name, program.read())
        made = _compiled(client, name, timeout) if wait else made
    print_pipeline(made, as_json=True) if as_json else typer.echo(f"{name} is created; {_program(made)}")


def edit(
    name: Name, program: Program, wait: Wait = True, timeout: Timeout = 120, as_json: Json = False
) -> None:
    """Give a stopped pipeline another program and wait until it is compiled."""
    with connect() as client:
        made = client.edit(name, program_code=program.read())
        made = _compiled(client, name, timeout) if wait else made
    print_pipeline(made, as_json=True) if as_json else typer.echo(f"{name} is changed; {_program(made)}")


def _program(pipeline: "Pipeline") -> str:
    return f"its program: {pipeline.program_status}"


def _compiled(client: "Client", name: str, timeout: float) -> "Pipeline":
    """Wait until the program is compiled; where it is in error, say where."""
    from sluicegate.cli import arrival

    try:
        return waiting("Compiling", lambda: arrival.compiled(client, name, timeout))
    except arrival.Failed:
        for line in arrival.compile_messages(client.pipeline(name, selector="all").raw):
            typer.echo(line, err=True)
        raise


def delete(name: Name) -> None:
    """Delete a pipeline that is stopped and cleared."""
    with connect() as client:
        client.delete(name)
    typer.echo(f"{name} is deleted")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_pipelines)
    app.command()(show)
    app.command()(create)
    app.command()(edit)
    app.command()(delete)
