"""`python -m sluicegate.cli` is the `sluicegate` command."""

from sluicegate.cli import main

main()
