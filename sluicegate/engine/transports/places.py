"""Which files a connector may open: those in the pipeline's own folder and in the folders of the settings."""

import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sluicegate.engine.transports.protocol import BadConfig, Fatal, Surroundings


def path_of(given: str, surroundings: Surroundings) -> Path:
    """Return the path that a configuration means: a name or `file://` URL; raises BadConfig.

    A relative name is within the pipeline's own folder, the first of those that may be used.
    """
    if given.startswith("file:"):
        url = urlsplit(given)
        if url.netloc not in ("", "localhost"):
            raise BadConfig(f"'{given}' is a file of another host; use file:///path")
        given = unquote(url.path)
    if not given or "\0" in given:
        raise BadConfig("'path' is empty or has a zero byte")
    if not surroundings.folders:
        raise BadConfig("this pipeline has no folder for files: connectors cannot read or write any")
    path = surroundings.folders[0] / given
    if not any(_resolved(path).is_relative_to(_resolved(folder)) for folder in surroundings.folders):
        raise BadConfig(_outside(given, surroundings))
    return path


def open_to_read(path: Path, surroundings: Surroundings) -> int:
    """Open a regular file that lies, with all links followed, in an allowed folder; raises Fatal."""
    descriptor = _open(path, os.O_RDONLY)
    return _checked(descriptor, path, surroundings)


def open_to_write(path: Path, surroundings: Surroundings) -> int:
    """Open a file, which is emptied or made, in an allowed folder; raises Fatal."""
    surroundings.folders[0].mkdir(exist_ok=True)
    # Not by a link: it could make a file elsewhere before anybody has looked where it leads.
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
    descriptor = _checked(_open(_resolved(path.parent) / path.name, flags), path, surroundings)
    os.ftruncate(descriptor, 0)
    return descriptor


def _open(path: Path, flags: int) -> int:
    try:
        # A pipe without another end would block for ever.
        return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise Fatal(f"cannot open {path}: {error.strerror}") from error


def _checked(descriptor: int, path: Path, surroundings: Surroundings) -> int:
    # Asked of the open file, so that no link can be changed between the look and the reading.
    opened = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    if regular and any(opened.is_relative_to(_resolved(folder)) for folder in surroundings.folders):
        return descriptor
    os.close(descriptor)
    raise Fatal(_outside(str(path), surroundings) if regular else f"{path} is not a regular file")


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise Fatal(f"cannot open {path}: {error}") from error


def _outside(given: str, surroundings: Surroundings) -> str:
    folders = ", ".join(map(str, surroundings.folders))
    return f"'{given}' is outside the folders that connectors may use: {folders}"
