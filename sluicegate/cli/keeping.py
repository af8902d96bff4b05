"""`restart-policy`, `schedules`, `schedule`, `unschedule`: what keeps a pipeline as wanted by itself."""

from typing import Annotated

import typer

from sluicegate.cli.session import Name, connect, print_json

Schedule = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Name of the schedule.")]


def restart_policy(
    name: Name,
    policy: Annotated[str | None, typer.Argument(help="`never` or `on_failure`; shown if left out.")] = None,
    max_attempts: Annotated[int, typer.Option(help="Restarts in a row until it gives up.")] = 5,
) -> None:
    """Show, or set, whether a deployment that failed is restarted."""
    with connect() as client:
        if policy is not None:
            client.set_restart_policy(name, policy=policy, max_attempts=max_attempts)
        print_json(client.restart_policy(name))


def schedules(name: Name) -> None:
    """List the schedules of a pipeline and when they are due."""
    with connect() as client:
        print_json(client.schedules(name))


def schedule(
    name: Name,
    schedule_name: Schedule,
    verb: Annotated[str, typer.Argument(help="`start` or `stop`.")],
    cron: Annotated[str, typer.Argument(help="Such as '0 22 * * mon-fri'.")],
    timezone: Annotated[str, typer.Option(help="IANA time zone.")] = "UTC",
) -> None:
    """Start or stop a pipeline by the clock."""
    with connect() as client:
        shown = client.set_schedule(name, schedule_name, verb=verb, cron=cron, timezone=timezone)
    print_json(shown)


def unschedule(name: Name, schedule_name: Schedule) -> None:
    """Remove a schedule."""
    with connect() as client:
        client.delete_schedule(name, schedule_name)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("restart-policy")(restart_policy)
    for command in (schedules, schedule, unschedule):
        app.command()(command)
