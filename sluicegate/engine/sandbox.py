"""Compiling with limits: the text comes from strangers, so this process restrains itself first."""

import json
import resource
import signal
import sys
from dataclasses import asdict
from types import FrameType

from sluicegate.protocol import CompileRequest, CompileResponse

GRACE = 2
"""CPU seconds between being told to give up and being killed."""


class _TooLong(BaseException):
    """The CPU time is used up. No Exception: the tokenizer takes every one of them for a wrong character."""


def compile_from_stdin(cpu_seconds: int, memory_mb: int) -> int:
    """Answer one compile request; returns the exit status."""
    _limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + GRACE)
    _limit(resource.RLIMIT_AS, memory_mb << 20, memory_mb << 20)
    signal.signal(signal.SIGXCPU, _give_up)
    response = _compile(sys.stdin.read(), cpu_seconds, memory_mb)
    json.dump(asdict(response), sys.stdout)
    sys.stdout.flush()
    return 0


def _compile(text: str, cpu_seconds: int, memory_mb: int) -> CompileResponse:
    from sluicegate.engine.compiler import compile_program

    raw = json.loads(text)
    request = CompileRequest(**{key: raw[key] for key in CompileRequest.__dataclass_fields__ if key in raw})
    try:
        return compile_program(request)
    except _TooLong:
        return _refusal(f"Compiling the program took more than {cpu_seconds} CPU seconds")
    except MemoryError:
        return _refusal(f"Compiling the program took more than {memory_mb} MiB of memory")


def _refusal(text: str) -> CompileResponse:
    message = {
        "start_line_number": 1,
        "start_column": 1,
        "end_line_number": 1,
        "end_column": 1,
        "warning": False,
        "error_type": "Resource limit",
        "message": text,
        "snippet": None,
    }
    return CompileResponse({"exit_code": 1, "messages": [message]})


def _limit(which: int, soft: int, hard: int) -> None:
    ceiling = resource.getrlimit(which)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))


def _give_up(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLong
