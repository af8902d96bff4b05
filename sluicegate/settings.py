"""Settings, read once from the environment (`SLUICEGATE_…`); Temporal's own come from `TEMPORAL_…`."""

import hashlib
import hmac
import ipaddress
import os
import secrets
import sys
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sluicegate.access.entries import MANUAL
from sluicegate.oidc import OidcSettings


class OwnerTrust(BaseModel):
    """Tokens of an issuer whose bearers are owners: `*` in subject and audience stands for any characters."""

    issuer: str
    subject: str
    audience: str | None = None


class Settings(BaseSettings):
    """All settings; `SLUICEGATE_HOME=/srv/sluicegate` sets `home`, and so on."""

    model_config = SettingsConfigDict(env_prefix="SLUICEGATE_", extra="ignore")

    home: Path = Field(Path("~/.sluicegate"), description="Data folder of this host.")
    api_host: str = Field("127.0.0.1", description="Address that the API binds.")
    api_port: int = Field(8080, ge=0, lt=65536, description="Port of the API.")
    temporal_port: int = Field(7233, ge=0, lt=65536, description="Port of the embedded Temporal server.")
    temporal_ui_port: int = Field(8233, ge=0, lt=65536, description="Port of its web pages.")
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Comma-separated keys; a request must carry one as `Authorization: Bearer <key>`."
    )
    owner_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Comma-separated keys of owners; `Feldera-Tenant` says in which tenant they act."
    )
    oidc: OidcSettings = Field(default_factory=OidcSettings, description="Logins: `SLUICEGATE_OIDC_…`.")
    owners: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated people who own the installation: a verified email address, a subject,"
        " or `<issuer> <subject>`.",
    )
    owner_trusts: tuple[OwnerTrust, ...] = Field(
        (), description='JSON list of {"issuer", "subject", "audience"?} whose tokens are owners.'
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="Comma-separated Host names that are answered while authentication is off.",
    )
    secret: SecretStr | None = Field(
        None, description="Shared by API and workers; made in the data folder where not given."
    )
    encryption_keys: Path | None = Field(
        None,
        description="File of keys that Temporal's payloads are encrypted with, newest first, each line an id"
        " and 32 bytes in base64; API and workers need the same.",
    )
    codec_origin: str | None = Field(
        None, description="Origin of the Temporal UI whose pages may have payloads decrypted by the API."
    )
    secrets: Path | None = Field(
        None, description="Folder on a host with one file for each `${secret:NAME}` of its pipelines."
    )
    allowed_env: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), description="Comma-separated variables of a host's worker that `${env:NAME}` may name."
    )
    connector_folders: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Comma-separated folders of a host whose files connectors may read and write."
    )
    connector_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Comma-separated networks that connectors may reach although they are not public."
    )
    logs_host: str = Field("127.0.0.1", description="Address that the host's log service binds.")
    logs_port: int = Field(0, ge=0, lt=65536, description="Its port; 0 picks one and keeps it.")
    logs_advertise: str | None = Field(None, description="Host name under which the API reaches it.")
    runtime_command: Annotated[tuple[str, ...], NoDecode] = Field(
        (sys.executable, "-m", "sluicegate.engine", "run"),
        description="Program that runs a pipeline, words separated by spaces.",
    )
    runtime_bind: str = Field("127.0.0.1", description="Address that pipeline processes bind.")
    runtime_advertise: str | None = Field(None, description="Host name under which they are reached.")
    worker_roles: Annotated[frozenset[Literal["pipelines", "effects"]], NoDecode] = Field(
        frozenset({"pipelines", "effects"}),
        description="What a worker does: decide for pipelines, have effects on this host, or both.",
    )
    unstable_features: Annotated[frozenset[Literal["runtime_version", "testing"]], NoDecode] = Field(
        frozenset(), description="What may change or go: `runtime_version`, `testing`."
    )
    worker_metrics: str | None = Field(
        None, description="Address (host:port) where a worker serves its Temporal metrics; off by default."
    )
    user_per_pipeline: bool = Field(True, description="As root, give each pipeline a user of its own.")
    watchers: int = Field(1_000, ge=1, description="Watchers and waiting callers of an API process.")
    watchers_per_tenant: int = Field(200, ge=1, description="Of these, those of one tenant.")
    longest_wait: int = Field(
        300, ge=1, description="Seconds that a request with `wait_for` is held at the most."
    )
    max_cached_workflows: int = Field(
        2_000, ge=1, description="Pipelines that a worker holds in memory: at least those that run."
    )
    provisions_at_once: int = Field(8, ge=1, description="Processes that a host starts at the same time.")
    warm_engines: int = Field(
        2, ge=0, description="Engines that a worker keeps ready for the next starts on its host; 0 is off."
    )

    @field_validator(
        "api_keys",
        "owner_keys",
        "allowed_env",
        "connector_folders",
        "connector_networks",
        "owners",
        "allowed_hosts",
        "worker_roles",
        "unstable_features",
        mode="before",
    )
    @classmethod
    def _comma_separated(cls, raw: object) -> object:
        return tuple(part.strip() for part in raw.split(",") if part.strip()) if isinstance(raw, str) else raw

    @field_validator("runtime_command", mode="before")
    @classmethod
    def _words(cls, raw: object) -> object:
        return tuple(raw.split()) if isinstance(raw, str) else raw

    @field_validator("secret", "api_keys", "owner_keys", mode="after")
    @classmethod
    def _replaced(cls, given: object) -> object:
        for one in given if isinstance(given, tuple) else (given,):
            if isinstance(one, SecretStr) and one.get_secret_value().startswith("replace-me"):
                raise ValueError("replace the placeholder by a secret of your own")
        return given

    @field_validator("connector_networks", mode="after")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(network)) for network in networks)

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @property
    def auth_required(self) -> bool:
        """Whether callers must bring a credential."""
        return bool(self.api_keys or self.owner_keys or self.owner_trusts or self.oidc.issuer)

    @property
    def operator_keys(self) -> tuple[SecretStr, ...]:
        """The keys of the default tenant that the settings have."""
        return self.api_keys + self.owner_keys

    @property
    def login_provider(self) -> str:
        """The issuer by which people log in; what is made while there is none is made by hand."""
        return self.oidc.issuer or MANUAL

    @property
    def binds_loopback(self) -> bool:
        """Whether only this machine can reach the API."""
        if self.api_host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.api_host).is_loopback
        except ValueError:
            return False

    def token(self, *purpose: str) -> str:
        """Derive the token for a purpose from the secret, so that no token is ever stored or sent along."""
        key = self._secret.encode()
        return hmac.new(key, "/".join(purpose).encode(), hashlib.sha256).hexdigest()

    @cached_property
    def _secret(self) -> str:
        if self.secret is not None:
            return self.secret.get_secret_value()
        path = self.home / "secret"
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            # Written aside and linked, so that a reader never sees half of it and the first writer wins.
            aside = path.with_name(f"secret.{os.getpid()}.{secrets.token_hex(4)}")
            aside.touch(mode=0o600)
            aside.write_text(secrets.token_hex(32))
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink(missing_ok=True)
        return path.read_text()


RUNTIME = "runtime"
"""Purpose of the token that a process asks for, followed by the deployment id."""
LOGS = "logs"
"""Purpose of the token that a host's log service asks for, followed by the host id."""
