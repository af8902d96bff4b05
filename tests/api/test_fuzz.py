"""Any input at all: what the front end answers is what its OpenAPI document says, and no failure of ours.

Schemathesis reads the document of a front end that listens on a socket, before a real Temporal server with
workers, and sends what fits the document, what nearly fits, and what does not, also in chains from create to
delete. `FUZZ_SECONDS=1800` makes it look longer and at other inputs each time.
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "0"))


@pytest.mark.slow
@pytest.mark.timeout(900 + SECONDS)
async def test_every_answer_is_one_that_the_document_names(
    api_guarded_url: str, api_guard_key: str, api_worker: None, tmp_path: Path
) -> None:
    # Without a limit of its own each run draws the same inputs, a fixed number of them.
    bounds = ["--max-time", str(SECONDS)] if SECONDS else ["--generation-deterministic"]
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(CONFIGURATION), "run", f"{api_guarded_url}/openapi.json"),
        *("--header", f"Authorization: Bearer {api_guard_key}", *bounds),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
