"""Compiling: runs the compiler as a child process with limits, since its text comes from strangers."""

import asyncio
import hashlib
import json
import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from temporalio import activity

from activities.beat import heartbeating
from sluicegate.lifecycle.effects import CompileOutcome, ProgramText
from sluicegate.lifecycle.values import Packed
from sluicegate.protocol import PLATFORM_VERSION, CompileRequest

COMPILE_WITHIN = 60.0
"""Seconds; a program of a thousand views takes a few."""
MAX_PLAN_BYTES = 400 * 1024
"""Encoded size of plan and schema together, which travel with the pipeline's state."""


MAX_SQL_BYTES = 64 * 1024
"""Encoded size of the compiler's messages; of more errors the first are shown."""
MAX_TEXT = 4_000
"""Characters of any other text from the compiler."""
KEPT = 64
"""Programs whose outcome a worker remembers: a compiler gives the same answer to the same text, and the same
program is often created many times over, or again."""


class Compiler:
    """Compiles programs; holds the command that does it."""

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-m", "sluicegate.engine", "compile"),
        at_once: int = 2,
        platform_version: str = PLATFORM_VERSION,
    ) -> None:
        """Compile with the given command, so many programs at the same time; others wait their turn."""
        self._platform_version = platform_version
        self._command = command
        self._turns = asyncio.Semaphore(at_once)
        self._kept: OrderedDict[bytes, dict[str, Any]] = OrderedDict()

    @activity.defn(name="compile")
    async def compile(self, program: ProgramText) -> CompileOutcome:
        """Compile a program version; a program in error is an outcome, not a failure.

        A pipeline of an older platform is not compiled, but told which one it has to move to first.
        Raises RuntimeError where the compiler itself cannot be run; may be tried again.
        """
        if _is_older(program.platform_version, self._platform_version):
            return CompileOutcome(
                program_version=program.program_version, platform_version=self._platform_version
            )
        request = CompileRequest(**program.texts.json_value, program_config=program.program_config)
        async with heartbeating(), self._turns:
            answer = await self._answer(json.dumps(asdict(request)).encode())
        outcome = CompileOutcome(program_version=program.program_version, **answer)
        return _bounded(outcome)

    @activity.defn(name="validate")
    async def validate(self, program: ProgramText) -> CompileOutcome:
        """Compile a program that nobody will run, so without its plan. Raises as `compile` does."""
        return (await self.compile(program)).but(plan=None)

    async def _answer(self, request: bytes) -> dict[str, Any]:
        """Compile, or remember what came of it; a compiler that was ended by its limits is asked again."""
        text = hashlib.sha256(request).digest()
        if (known := self._kept.get(text)) is not None:
            self._kept.move_to_end(text)
            return known
        answer = await self._run(request)
        if answer.get("system_error") is None:
            self._kept[text] = answer
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return answer

    async def _run(self, request: bytes) -> dict[str, Any]:
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(COMPILE_WITHIN):
                out, err = await child.communicate(request)
        except TimeoutError:
            return {"system_error": f"The compiler did not finish within {COMPILE_WITHIN:.0f} s."}
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return _answer(child.returncode or 0, out, err)


def _is_older(version: str, current: str) -> bool:
    """Compare platform versions; one that is no version is older than any, and none at all is not."""
    return version != "" and _numbers(version) < _numbers(current)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(map(int, parts)) if all(map(str.isdecimal, parts)) else ()


def _answer(exit_code: int, out: bytes, err: bytes) -> dict[str, Any]:
    """Read what the compiler wrote; one that was ended by its limits is an answer about the program."""
    if exit_code == 0:
        answer = json.loads(out)
        messages = answer["sql_compilation"]["messages"]
        while len(messages) > 1 and len(json.dumps(messages)) > MAX_SQL_BYTES:
            del messages[len(messages) // 2 :]
        for bulky in ("program_info", "plan"):
            if answer[bulky] is not None:
                answer[bulky] = Packed.of_json(answer[bulky])
        return answer  # type: ignore[no-any-return]
    tail = err.decode(errors="replace").strip().splitlines()[-5:]
    how = f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
    text = "\n".join([f"The compiler {how}; it may have met its limits.", *tail])
    return {"system_error": text[:MAX_TEXT]}


def _bounded(outcome: CompileOutcome) -> CompileOutcome:
    size = sum(len(part) for part in (outcome.plan, outcome.program_info) if part is not None)
    if size <= MAX_PLAN_BYTES:
        return outcome
    too_large = f"The compiled program has {size} bytes; at most {MAX_PLAN_BYTES} are allowed."
    return CompileOutcome(program_version=outcome.program_version, system_error=too_large)
