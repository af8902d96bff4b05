"""The `sluicegate` command: speaks HTTP only, and starts what an operator runs as child processes."""


def main() -> None:
    """Run the command."""
    from sluicegate.cli.app import app

    app(prog_name="sluicegate")
