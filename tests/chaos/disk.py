"""A small file system of our own, so that it can be full."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

SIZE = 512 << 20
"""Bytes; a run writes some tens of megabytes."""
_FILLING = "filling"


def mounted(folder: Path, size: int = SIZE) -> str | None:
    """Mount it on a folder; the reason where that cannot be done here."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "chaos", str(folder)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return "there is no command to mount a file system"
    return None if done.returncode == 0 else f"a tmpfs cannot be mounted: {done.stderr.strip()}"


def unmounted(folder: Path) -> None:
    """Take it away, also from under who still has a file of it open."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room in it."""
    descriptor = os.open(folder / _FILLING, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        piece = 1 << 20
        while piece >= 4_096:
            size = os.fstat(descriptor).st_size
            try:
                os.posix_fallocate(descriptor, size, piece)
            except OSError:
                piece //= 2
    finally:
        os.close(descriptor)


def free(folder: Path) -> None:
    """Give the room back."""
    with suppress(FileNotFoundError):
        (folder / _FILLING).unlink()
