"""A typed client of the REST API: what the `sluicegate` command, the dev supervisor and scripts use.

    with Client("http://127.0.0.1:8080") as client:
        client.create("flights", program)
        client.start("flights")
        client.wait("flights", "running")

Nothing is retried behind the caller's back but a wait and a watch, which only look. Each verb carries an
`Idempotency-Key`, so a caller who got no answer may give the same `request_id` again and has one effect.
"""

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from sluicegate.sse import Event, events

DEFAULT_URL = "http://127.0.0.1:8080"
PATIENCE = httpx.Timeout(150.0, connect=5.0)
"""A checkpoint may take two minutes to be asked for; a sound network connects in less than five seconds."""
WAIT_AT_ONCE = 20.0
"""Seconds that one request of a wait lasts; less than the patience of every client."""
AGAIN_AFTER = 0.5  # seconds, for an API that is ending or was cut off
TAKEN_UP_WITHIN = 60.0  # seconds, for a watch that was cut
WATCH_PATIENCE = httpx.Timeout(150.0, connect=5.0, read=25.0)
"""A watched API shows a sign of life every ten seconds."""

KEYS, TRUSTS, USERS, TENANTS = "/v0/api_keys", "/v0/oidc_trust", "/v0/tenant/users", "/v0/tenants"

# ClientError             anything below
# ├── Unreachable         nobody answers at the address
# │   └── Quiet           or has stopped to, in the midst of an answer
# ├── Refused             the API answered, and said no
# └── TimedOut            a state that was waited for did not come in time


class ClientError(Exception):
    """The request has not led to what was asked for."""


class Unreachable(ClientError):
    """Nobody answers at the address."""


class Quiet(Unreachable):
    """Nothing more has come for as long as there was patience."""


class TimedOut(ClientError):
    """What was waited for did not happen in time."""


class Refused(ClientError):
    """The API said no; the code is stable, the message is for people."""

    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


@dataclass(frozen=True)
class Pipeline:
    """What the API says of a pipeline; `raw` is all of it."""

    id: str
    name: str
    status: str
    desired_status: str
    program_status: str
    storage_status: str
    since: str
    error: Mapping[str, Any] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """Read an object of `GET /v0/pipelines`."""
        return cls(
            id=raw["id"],
            name=raw["name"],
            status=raw["deployment_status"],
            desired_status=raw["deployment_desired_status"],
            program_status=raw["program_status"],
            storage_status=raw["storage_status"],
            since=raw["deployment_status_since"],
            error=raw.get("deployment_error"),
            raw=raw,
        )

    @property
    def stopped(self) -> bool:
        """Whether nothing runs and nothing shall."""
        return self.status == self.desired_status == "Stopped"


class Client:
    """Speaks to one API as one caller."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        tenant: str | None = None,
        patience: httpx.Timeout = PATIENCE,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        if tenant:
            headers["Feldera-Tenant"] = tenant
        self.url = url.rstrip("/")
        # A proxy from the environment must not get between us and this machine.
        local = httpx.URL(self.url).host in {"127.0.0.1", "localhost", "::1"}
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=patience, transport=transport, trust_env=not local
        )

    def __enter__(self) -> Self:
        """Keep the connections open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- what there is -------------------------------------------------------------------------------

    def pipelines(self) -> list[Pipeline]:
        """List the caller's pipelines, oldest first."""
        answer = self._call("GET", "/v0/pipelines", params={"selector": "status"})
        return [Pipeline.parse(raw) for raw in answer.json()]

    def pipeline(self, name: str, *, selector: str = "status") -> Pipeline:
        """Look at one pipeline; `selector="all"` adds its program and settings to `raw`."""
        return Pipeline.parse(self._call("GET", _path(name), params={"selector": selector}).json())

    def create(self, name: str, program: str, **options: Any) -> Pipeline:
        """Create a pipeline; options are further keys of the request, such as `runtime_config`."""
        body = {"name": name, "program_code": program, **options}
        return Pipeline.parse(self._call("POST", "/v0/pipelines", json=body).json())

    def edit(self, name: str, **changes: Any) -> Pipeline:
        """Change what is given, such as `program_code`; anything else stays."""
        return Pipeline.parse(self._call("PATCH", _path(name), json=changes).json())

    def update_runtime(self, name: str) -> Pipeline:
        """Move a stopped pipeline to the current platform, which compiles it again where it was older."""
        return Pipeline.parse(self._call("POST", f"{_path(name)}/update_runtime").json())

    def delete(self, name: str) -> None:
        """Delete a pipeline that is stopped and cleared."""
        self._call("DELETE", _path(name))

    # --- verbs ---------------------------------------------------------------------------------------

    def start(
        self, name: str, *, initial: str = "running", request_id: str | None = None, **options: str
    ) -> None:
        """Ask for it to run, or to be `paused` or on `standby`; options are further parameters of the
        request, such as `checkpoint` and `bootstrap_policy`."""
        self._verb(name, "start", {"initial": initial, **options}, request_id)

    def stop(self, name: str, *, force: bool = False, request_id: str | None = None) -> None:
        """Ask for it to stop, after a checkpoint or (force) at once."""
        self._verb(name, "stop", {"force": "true" if force else "false"}, request_id)

    def pause(self, name: str, *, request_id: str | None = None) -> None:
        """Ask for its input to pause."""
        self._verb(name, "pause", {}, request_id)

    def resume(self, name: str, *, request_id: str | None = None) -> None:
        """Ask for its input to go on."""
        self._verb(name, "resume", {}, request_id)

    def activate(self, name: str, *, initial: str = "running", request_id: str | None = None) -> None:
        """Ask for it to leave its standby, to be `running` or `paused`."""
        self._verb(name, "activate", {"initial": initial}, request_id)

    def approve(
        self, name: str, *, silent: bool = False, concurrent: bool = False, request_id: str | None = None
    ) -> None:
        """Approve the bootstrap that it waits with; the flags replace those of its start."""
        flags = {"silent_bootstrap": _word(silent), "concurrent_bootstrap": _word(concurrent)}
        self._verb(name, "approve", flags, request_id)

    def clear(self, name: str, *, request_id: str | None = None) -> None:
        """Ask for its storage to be removed; it has to be stopped."""
        self._verb(name, "clear", {}, request_id)

    def dismiss_error(self, name: str, *, request_id: str | None = None) -> None:
        """Forget the error of its last deployment."""
        self._verb(name, "dismiss_error", {}, request_id)

    def wait(self, name: str, *words: str, seconds: float = 120.0) -> Pipeline:
        """Wait until a pipeline is one of the words of `wait_for`, such as "running" or "compiled".

        Raises TimedOut, and Refused, with the code WaitInVain where it will not be so by itself.
        """
        deadline = time.monotonic() + seconds
        while True:
            left = min(max(deadline - time.monotonic(), 0.0), WAIT_AT_ONCE)
            params = {"selector": "status", "wait_for": ",".join(words), "timeout": f"{left * 1000:.0f}ms"}
            try:
                return Pipeline.parse(self._call("GET", _path(name), params=params).json())
            except Refused as refused:
                late = time.monotonic() >= deadline
                if refused.code == "WaitTimedOut" and late:
                    raise TimedOut(_standing(name, refused.details, seconds)) from refused
                if refused.code not in {"WaitTimedOut", "ShuttingDown", "TooManyWatchers"} or late:
                    raise
                time.sleep(0 if refused.code == "WaitTimedOut" else AGAIN_AFTER)

    def watch(self, name: str, *, after: str | None = None) -> Iterator[Event]:
        """Yield the transitions of a pipeline as they come: first the newest, or what is after an id.

        A watch that is cut goes on; it is over when the pipeline is gone. Where that came about during a
        cut, a `gap` says that there may have been more. Raises Refused, Unreachable.
        """
        alive: float | None = None
        while True:
            try:
                query = {"after": after} if after else {}
                for event in events(self._lines(f"{_path(name)}/watch", query, WATCH_PATIENCE)):
                    if event is not None:
                        after = event.id or after
                        yield event
                        if event.kind == "deleted":
                            return
                    alive = time.monotonic()
            except (Unreachable, Refused) as cut:
                if alive is not None and isinstance(cut, Refused) and cut.code == "UnknownPipelineName":
                    yield Event("gap", None, {"after": after, "oldest_kept": None})
                    yield Event("deleted", None, {"name": name})
                    return
                over = isinstance(cut, Refused) and cut.status != httpx.codes.SERVICE_UNAVAILABLE
                if over or alive is None or time.monotonic() > alive + TAKEN_UP_WITHIN:
                    raise
            time.sleep(AGAIN_AFTER)

    # --- kept as wanted ------------------------------------------------------------------------------

    def restart_policy(self, name: str) -> dict[str, Any]:
        """Show whether a failed deployment is restarted, and how that stands."""
        return dict(self._call("GET", f"{_path(name)}/restart_policy").json())

    def set_restart_policy(self, name: str, **policy: Any) -> dict[str, Any]:
        """Set it, such as `policy="on_failure"`; what is not given gets its default."""
        return dict(self._call("PUT", f"{_path(name)}/restart_policy", json=policy).json())

    def schedules(self, name: str) -> list[dict[str, Any]]:
        """List the schedules of a pipeline and when they are due."""
        return list(self._call("GET", f"{_path(name)}/schedules").json())

    def set_schedule(self, name: str, schedule_name: str, **schedule: Any) -> dict[str, Any]:
        """Make or replace a schedule, such as `verb="stop", cron="0 22 * * *"`."""
        return dict(self._call("PUT", _schedule(name, schedule_name), json=schedule).json())

    def delete_schedule(self, name: str, schedule_name: str) -> None:
        """Remove a schedule."""
        self._call("DELETE", _schedule(name, schedule_name))

    # --- data ----------------------------------------------------------------------------------------

    def ingest(self, name: str, table: str, data: bytes | Iterable[bytes], **query: Any) -> str:
        """Send rows to a table; query is that of `POST /ingress`. Returns the completion token."""
        path = f"{_path(name)}/ingress/{quote(table, safe='')}"
        params = {key: _word(value) for key, value in query.items()}
        return str(self._call("POST", path, params=params, content=data).json()["token"])

    def completed(self, name: str, token: str) -> bool:
        """Say whether everything sent before the token was given has been processed."""
        answer = self._call("GET", f"{_path(name)}/completion_status", params={"token": token})
        return bool(answer.json()["status"] == "complete")

    def query(self, name: str, sql: str) -> list[dict[str, Any]]:
        """Run an ad-hoc query and return its rows."""
        rows = [json.loads(line) for line in self._query(name, sql, "json").splitlines() if line]
        if rows and set(rows[-1]) == {"error"}:
            raise Refused(200, "AdHocQueryError", str(rows[-1]["error"]))
        return rows

    def query_text(self, name: str, sql: str) -> str:
        """Run an ad-hoc query and return its rows as the API draws them."""
        return self._query(name, sql, "text")

    def query_bytes(self, name: str, sql: str, form: str) -> Iterator[bytes]:
        """Run an ad-hoc query and yield its answer as it comes: parquet, arrow_ipc, hash, json or text."""
        patience = httpx.Timeout(None, connect=5.0)
        params = {"sql": sql, "format": form}
        try:
            with self._http.stream("GET", f"{_path(name)}/query", params=params, timeout=patience) as answer:
                _check(answer)
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def logs(self, name: str, *, follow: bool = False, quiet: float = 1.0) -> Iterator[str]:
        """Yield the lines of a pipeline's log.

        The API never ends a log; without `follow` it is over when nothing came for `quiet` seconds.
        """
        patience = httpx.Timeout(None if follow else quiet, connect=5.0)
        with suppress(Quiet):
            yield from self._lines(f"{_path(name)}/logs", {}, patience)

    def healthy(self) -> bool:
        """Say whether the API answers and finds itself healthy."""
        try:
            return self._http.get("/healthz", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    # --- who may do what -----------------------------------------------------------------------------

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """List what there is of a kind: KEYS, TRUSTS, USERS or TENANTS."""
        return list(self._call("GET", kind).json())

    def add(self, kind: str, **body: Any) -> dict[str, Any]:
        """Make one of a kind; what is None is left to the API. A key's text is in this answer only."""
        given = {key: value for key, value in body.items() if value is not None}
        return dict(self._call("POST", kind, json=given).json())

    def remove(self, kind: str, name: str) -> None:
        """Remove one of a kind: keys and trusts by name, users and tenants by id."""
        self._call("DELETE", f"{kind}/{quote(name, safe='')}")

    def set_role(self, user_id: str, role: str) -> None:
        """Give a member of the tenant another role."""
        self._call("PUT", f"{USERS}/{quote(user_id, safe='')}", json={"role": role})

    def rename_tenant(self, tenant_id: str, name: str, *, displace: bool = False) -> dict[str, Any] | None:
        """Give a tenant another name; gives the tenant that had it, where it was displaced."""
        body = {"name": name, "displace_existing": displace}
        answer = self._call("PATCH", f"{TENANTS}/{quote(tenant_id, safe='')}", json=body)
        displaced: dict[str, Any] | None = answer.json()["displaced"]
        return displaced

    # --- how -----------------------------------------------------------------------------------------

    def _verb(self, name: str, verb: str, params: dict[str, str], request_id: str | None) -> None:
        key = request_id or str(uuid.uuid4())
        self._call("POST", f"{_path(name)}/{verb}", params=params, headers={"Idempotency-Key": key})

    def _query(self, name: str, sql: str, form: str) -> str:
        patience = httpx.Timeout(None, connect=5.0)
        params = {"sql": sql, "format": form}
        return self._call("GET", f"{_path(name)}/query", params=params, timeout=patience).text

    def _lines(self, path: str, params: dict[str, str], patience: httpx.Timeout) -> Iterator[str]:
        try:
            with self._http.stream("GET", path, params=params, timeout=patience) as answer:
                _check(answer)
                yield from answer.iter_lines()
        except httpx.ReadTimeout as error:
            raise Quiet(f"Nothing more from {self.url}") from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        _check(answer)
        return answer

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(f"No answer from {self.url}: {error}")


def _path(name: str) -> str:
    return f"/v0/pipelines/{quote(name, safe='')}"


def _schedule(name: str, schedule_name: str) -> str:
    return f"{_path(name)}/schedules/{quote(schedule_name, safe='')}"


def _standing(name: str, details: Mapping[str, Any], seconds: float) -> str:
    return (
        f"{name} is {details['deployment_status']} (wanted: {details['deployment_desired_status']}), "
        f"its program {details['program_status']}, after {seconds:.0f} s"
    )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(answer: httpx.Response) -> None:
    if not answer.is_error:
        return
    answer.read()
    try:
        body = answer.json()
        code, message, details = body["error_code"], body["message"], body.get("details")
    except (ValueError, KeyError, TypeError, AttributeError):
        keyless = answer.status_code == httpx.codes.UNAUTHORIZED
        reason = "a valid API key is needed" if keyless else answer.text or answer.reason_phrase
        code, message, details = f"HTTP {answer.status_code}", reason, None
    raise Refused(answer.status_code, code, message, details)
