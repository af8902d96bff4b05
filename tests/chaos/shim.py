"""Clocks and disks of single processes under our hand, by a library of ours that is loaded before all others.

It takes a C compiler, and works for programs that ask the C library for the time of day: ours do, the
Temporal server (Go) does not.
"""

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

_FORM = struct.Struct("=qq")


class Control:
    """The clock and the disk of the processes that were started with it."""

    def __init__(self, path: Path) -> None:
        """Make the file that they read."""
        path.write_bytes(_FORM.pack(0, 0))
        self.path = path
        with path.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), _FORM.size)

    def clock(self, seconds: float) -> None:
        """Put the time of day that many seconds ahead."""
        self._mapped[:8] = struct.pack("=q", int(seconds * 1e9))

    def disk(self, seconds: float) -> None:
        """Make each fsync take that much longer."""
        self._mapped[8:] = struct.pack("=q", int(seconds * 1e6))

    def environment(self, library: Path | None) -> dict[str, str]:
        """What a process needs to be under it."""
        return {"LD_PRELOAD": str(library), "CHAOS_CONTROL": str(self.path)} if library else {}


def built(folder: Path) -> Path | None:
    """Compile the library; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library
