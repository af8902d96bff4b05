"""The engine's command: `compile` checks a program and plans it, `run` runs one deployment of a plan."""

import argparse
import sys
from uuid import UUID

COMPILE = """Read a compile request as JSON on standard input, write the response as JSON on standard output.

  echo '{"program_code": "CREATE TABLE t (a INT);"}' | python -m sluicegate.engine compile

The exit status is 0 even where the program is in error: the errors are in the response, under
sql_compilation.messages. The limits are applied to this process before it reads anything."""

RUN = """Run one deployment of a pipeline. Writes the port it listens on into the file `port` of the current
directory, answers HTTP there to whoever sends the token of the config file, and says in one line what it
does whenever that changes. Ends on SIGTERM.

  python -m sluicegate.engine run --config-file config.json --bind-address 127.0.0.1 \\
      --initial running --deployment-id 0190a0c2-… --bootstrap-policy allow"""


def main() -> int:
    """Parse the command line and do what it says."""
    arguments = _parser().parse_args()
    if arguments.verb == "compile":
        from sluicegate.engine import sandbox

        return sandbox.compile_from_stdin(arguments.cpu_seconds, arguments.memory_mb)
    from sluicegate.engine import server

    server.run(
        server.Options(
            arguments.config_file,
            arguments.bind_address,
            arguments.initial,
            arguments.deployment_id,
            arguments.bootstrap_policy,
            arguments.silent_bootstrap,
            arguments.concurrent_bootstrap,
            arguments.checkpoint,
        )
    )


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m sluicegate.engine", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="compile|run")
    compile_ = verbs.add_parser("compile", help="plan a program", description=COMPILE, formatter_class=plain)
    compile_.add_argument("--cpu-seconds", type=int, default=60, help="CPU time it may use (default 60)")
    compile_.add_argument(
        "--memory-mb", type=int, default=2048, help="address space it may use, in MiB (default 2048)"
    )
    run = verbs.add_parser("run", help="run a deployment", description=RUN, formatter_class=plain)
    run.add_argument("--config-file", required=True, help="the deployment's config file, JSON")
    run.add_argument("--bind-address", required=True, help="address to listen on; the port is chosen freely")
    run.add_argument("--initial", required=True, choices=("running", "paused", "standby"))
    run.add_argument("--deployment-id", required=True, help="UUID of the deployment")
    run.add_argument("--bootstrap-policy", required=True, help="allow, reject or await_approval")
    run.add_argument(
        "--silent-bootstrap", action="store_true", help="write nothing of what a changed program computes"
    )
    run.add_argument(
        "--concurrent-bootstrap",
        action="store_true",
        help="serve the old views until the changed ones are ready",
    )
    run.add_argument(
        "--checkpoint",
        type=_checkpoint,
        metavar="UUID|none",
        help="the checkpoint to start from, or `none` to start empty (default: what was left, or the newest)",
    )
    return parser


def _checkpoint(text: str) -> str:
    return text if text == "none" else str(UUID(text))


if __name__ == "__main__":
    sys.exit(main())
