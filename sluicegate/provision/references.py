"""What `${secret:…}` and `${env:…}` stand for on this host, for pipelines and their connectors.

    ${secret:NAME}                   the file NAME in the tenant's folder of secrets
    ${secret:kubernetes:NAME/KEY}    the file NAME/KEY there, as Kubernetes mounts a secret
    ${env:NAME}                      the worker's environment variable NAME, where settings allow it
    $${                              `${` itself, in front of either word

References are read nowhere but here, when a process is started, and their values go nowhere but into the
environment of that process. Configurations, plans and histories keep the references. A tenant's folder is
`<secrets>/<tenant id>`, that of the default tenant `<secrets>` itself, so no tenant reaches another's.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sluicegate.lifecycle.effects import Deployment
from sluicegate.protocol import REFERENCE, compose, references, secret_variable
from sluicegate.provision import ReferenceUnresolved

DEFAULT_TENANT = str(UUID(int=0))
MAX_BYTES = 64 * 1024
"""Of one value; an environment variable of Linux may have 128 KiB."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_KUBERNETES = "kubernetes:"


@dataclass(frozen=True)
class References:
    """Where this host keeps what may be referred to."""

    secrets: Path | None = None
    """Folder of secrets, one file each."""
    allowed_environment: frozenset[str] = frozenset()
    """Names of the worker's variables that pipelines may be given."""

    def resolve(self, deployment: Deployment) -> dict[str, str]:
        """Return the variables that a deployment's process gets: those of its `env` that have a reference,
        and one for each reference in its configuration or its connectors'. Raises ReferenceUnresolved."""
        config = deployment.runtime_config
        tenant_id = deployment.workflow_id.split("/")[1]
        plan = deployment.plan.json_value
        connected = [plan.get(key) for key in ("input_connectors", "output_connectors")]
        values = {found: self._value(found, tenant_id) for found in set(references([config, connected]))}
        given: Mapping[str, str] = config.get("env") or {}
        composed = {
            name: compose(text, values.__getitem__) for name, text in given.items() if REFERENCE.search(text)
        }
        return composed | {secret_variable(reference): value for reference, value in values.items()}

    def _value(self, reference: str, tenant_id: str) -> str:
        kind, _, name = reference.partition(":")
        value = self._variable(name) if kind == "env" else self._secret(name, tenant_id)
        if value is None:
            raise ReferenceUnresolved(f"${{{reference}}} is not known on this host, or is not allowed")
        if "\0" in value:
            raise ReferenceUnresolved(f"${{{reference}}} stands for a text with a zero byte")
        return value

    def _variable(self, name: str) -> str | None:
        return os.environ.get(name) if name in self.allowed_environment else None

    def _secret(self, name: str, tenant_id: str) -> str | None:
        parts = name.removeprefix(_KUBERNETES).split("/")
        if self.secrets is None or len(parts) != (2 if name.startswith(_KUBERNETES) else 1):
            return None
        if not all(map(_usable, parts)):
            return None
        folder = self.secrets if tenant_id == DEFAULT_TENANT else self.secrets / tenant_id
        return _read_within(folder, folder.joinpath(*parts))


def has_reference(text: str) -> bool:
    """Say whether a text has anything to replace, an escape included."""
    return REFERENCE.search(text) is not None


def _usable(part: str) -> bool:
    """A plain file name, and not that of another tenant's folder."""
    if not _NAME.fullmatch(part):
        return False
    try:
        UUID(part)
    except ValueError:
        return True
    return False


def _read_within(folder: Path, path: Path) -> str | None:
    """Read a file that lies in a folder once all links are followed, as those of a mounted secret do."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # Asked of the open file, so that no link can be changed between the look and the reading.
        opened = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if not regular or not opened.is_relative_to(folder.resolve()):
            return None
        raw = os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(raw) > MAX_BYTES:
        return None
    try:
        return raw.decode().removesuffix("\n")
    except UnicodeDecodeError:
        return None
