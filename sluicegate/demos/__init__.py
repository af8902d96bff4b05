"""Programs to begin with, one SQL file each; its first lines say what it shows (contract §6.1).

-- title: a few words
-- description: a sentence or two, in one line
"""

import re
from functools import cache
from importlib import resources
from typing import Any

_HEADING = re.compile(r"-- title: (?P<title>.+)\n-- description: (?P<description>.+)\n")


@cache
def demos() -> tuple[dict[str, Any], ...]:
    """Read all demos, in the order of their names."""
    files = [file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql")]
    return tuple(_demo(file.name, file.read_text()) for file in sorted(files, key=lambda file: file.name))


def _demo(file_name: str, program: str) -> dict[str, Any]:
    heading = _HEADING.match(program)
    if heading is None:
        raise ValueError(f"{file_name} does not begin with its title and its description")
    name = file_name.removesuffix(".sql").replace("_", "-")
    return {"name": name, **heading.groupdict(), "program_code": program, "udf_rust": "", "udf_toml": ""}
