"""A user of its own for each pipeline, where the worker is root and the program can be run by others.

A pipeline's number is derived from its id and reserved by a link in `<home>/users/`, so that two pipelines
never share one, and a pipeline keeps its number for as long as it exists.
"""

import hashlib
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import structlog

from sluicegate.provision.spec import interpreter

_log = structlog.get_logger(__name__)

# Numbers that no convention has given away: above the container ranges of systemd and of subordinate ids,
# below 2^31, which some file systems and programs take for negative.
_FIRST, _COUNT = 1_879_048_192, 268_000_000

_TRIAL = "import importlib, os, sys; importlib.import_module(sys.argv[1]); os.stat(sys.argv[2])"
_TRIAL_SHELL = """
no() { echo "$1" >&2; exit 1; }
cd "$2" || exit 1
command -v "$1" >/dev/null || no "$1 cannot be run"
test -z "$3" || test -r "$3" || no "$3 cannot be read"
"""
_TRIAL_LIMIT = 20.0


class Users:
    """Hands out user numbers; none at all where pipelines run as the worker's own user."""

    def __init__(self, home: Path, command: Sequence[str], *, enabled: bool) -> None:
        self._home = home
        self._command = list(command)
        self._enabled = enabled and os.geteuid() == 0
        self._tried: bool | None = None
        self._trial = threading.Lock()

    @property
    def passage(self) -> int:
        """Mode of the directories that lead to what a pipeline's user owns."""
        return 0o711 if self._enabled else 0o700

    def number(self, pipeline_id: str) -> int | None:
        """Return the pipeline's own user, None for the worker's; blocks, the first time for a trial."""
        return self._reserve(pipeline_id) if self._usable() else None

    def release(self, pipeline_id: str) -> None:
        """Give a deleted pipeline's number back."""
        for uid in self._candidates(pipeline_id):
            holder = self._holder(uid)
            if holder == pipeline_id:
                self._link(uid).unlink(missing_ok=True)
            if holder is None or holder == pipeline_id:
                return

    def _reserve(self, pipeline_id: str) -> int:
        (self._home / "users").mkdir(mode=0o700, exist_ok=True)
        for uid in self._candidates(pipeline_id):
            try:
                self._link(uid).symlink_to(pipeline_id)
            except FileExistsError:
                if self._holder(uid) != pipeline_id:
                    continue
            return uid
        raise AssertionError("a range of millions is never full")

    def _candidates(self, pipeline_id: str) -> range:
        first = int.from_bytes(hashlib.sha256(pipeline_id.encode()).digest()[:8]) % (_COUNT - 1000)
        return range(_FIRST + first, _FIRST + first + 1000)

    def _link(self, uid: int) -> Path:
        return self._home / "users" / str(uid)

    def _holder(self, uid: int) -> str | None:
        try:
            return os.readlink(self._link(uid))
        except OSError:
            return None

    def _usable(self) -> bool:
        if not self._enabled:
            return False
        with self._trial:
            if self._tried is None:
                self._tried = self._try()
            return self._tried

    def _try(self) -> bool:
        """Run the command's interpreter as a stranger, once, and say in the log if that cannot be."""
        (self._home / "pipelines").mkdir(mode=self.passage, parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                self._trial_command(),
                user=_FIRST - 1,
                group=_FIRST - 1,
                extra_groups=[],
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath)} | interpreter(self._command),
                capture_output=True,
                text=True,
                timeout=_TRIAL_LIMIT,
                check=False,
            )
            reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            usable = done.returncode == 0
        except (OSError, subprocess.SubprocessError) as error:
            usable, reason = False, str(error)
        if not usable:
            _log.warning(
                "pipelines run as the worker's own user, since a user of their own could not run the program",
                reason=reason,
                command=self._command,
            )
        return usable

    def _trial_command(self) -> list[str]:
        pipelines = f"{self._home}/pipelines/."
        program, *rest = self._command
        if rest[:1] == ["-m"]:
            return [program, "-c", _TRIAL, rest[1], pipelines]
        script = rest[0] if rest and Path(rest[0]).is_file() else ""
        return ["/bin/sh", "-c", _TRIAL_SHELL, "sh", program, pipelines, script]
