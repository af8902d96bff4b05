"""The program that pipelines run: the built-in engine for some, the scripted one for the others.

    python runtime.py --scripts FOLDER [--library FILE --control FILE] <command line of the runtime protocol>

Pipelines whose name begins with `rows` store rows, so theirs is the engine, under the control of `shim.py`.
"""

import json
import os
import sys
from pathlib import Path

ENGINE = "rows"
_SCRIPTED = Path(__file__).parents[1] / "conformance" / "scripted_runtime.py"


def main(words: list[str]) -> None:
    """Become the one or the other."""
    given = {}
    while words[0] in ("--scripts", "--library", "--control"):
        given[words[0]], words = words[1], words[2:]
    config = Path(words[words.index("--config-file") + 1])
    name = json.loads(config.read_text())["given_name"]
    if not name.startswith(ENGINE):
        command = [str(_SCRIPTED), "--scripts", given["--scripts"]]
        os.execv(sys.executable, [sys.executable, *command, *words])
    if "--library" in given:
        os.environ |= {"LD_PRELOAD": given["--library"], "CHAOS_CONTROL": given["--control"]}
    os.execv(sys.executable, [sys.executable, "-m", "sluicegate.engine", "run", *words])


if __name__ == "__main__":
    main(sys.argv[1:])
