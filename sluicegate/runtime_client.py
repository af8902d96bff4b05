"""How the control plane talks to a pipeline's process: looks at it, tells it what to do, passes calls on.

`status` never decides anything: `observation` maps an answer to what it means (contract §1.6), and silence
is raised as `Unreachable`, since only the caller knows whether a grace period still holds. The same client
speaks to a host's log service, whose tokens are made for the host's id instead of a deployment's.

    Unreachable          nobody answered; it may be tried again
    ├── NotConnected     no connection could be made
    ├── TimedOut         no answer in time
    └── Disconnected     the connection broke before the answer was whole
    Busy                 the process answered 503: try again
    Refused              the process said no
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Self

import httpx
from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from sluicegate import errors
from sluicegate.lifecycle.effects import Failure, Observation
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from sluicegate.lines import Broken, Line

CONNECT_TIMEOUT = 5.0
COMMAND_TIMEOUT = 10.0
"""Seconds that a pause or start may take to be answered (contract §1.11)."""
FRAME = 2 << 20
"""Bytes of the largest frame of a WebSocket (contract §5.4)."""
STATUS_BYTES = 1 << 20
"""A status travels in a signal and a memo, so one that is larger is not a status."""

MESSAGE = 4_000
"""Characters of a failure's words that are kept: they are in every event until the next deployment."""
DETAILS = 64 << 10
"""Bytes of JSON that details may take."""

_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_OURS = {"date", "server"}
"""Headers of the answer that whoever relays it writes anew."""
_PASSED_ON = {"accept", "accept-encoding", "content-length", "content-type"}
"""Headers of a request that mean something to the process; credentials never do."""
_NOT_THE_PROCESS = {401, 403}
"""Somebody else has the port: the process knows its own token."""

_LEGACY: dict[str, tuple[RuntimeStatus, RuntimeDesired]] = {
    "Initializing": (RuntimeStatus.INITIALIZING, RuntimeDesired.UNAVAILABLE),
    "Paused": (RuntimeStatus.PAUSED, RuntimeDesired.PAUSED),
    "Running": (RuntimeStatus.RUNNING, RuntimeDesired.RUNNING),
    "Terminated": (RuntimeStatus.UNAVAILABLE, RuntimeDesired.UNAVAILABLE),
}
"""Bare words of older processes; their desired status is not known, so the status stands for it."""
_UNREADY: dict[str, tuple[RuntimeStatus, RuntimeDesired]] = {
    "Initializing": (RuntimeStatus.INITIALIZING, RuntimeDesired.UNAVAILABLE),
    "Suspended": (RuntimeStatus.SUSPENDED, RuntimeDesired.SUSPENDED),
}
"""Codes of a 503 that are a status."""


class Unreachable(Exception):
    """Nobody answered."""


class NotConnected(Unreachable):
    """No connection could be made."""


class TimedOut(Unreachable):
    """No answer in time."""


class Disconnected(Unreachable):
    """The connection broke before the answer was whole."""


class Busy(Exception):
    """The process cannot do this at the moment."""


class Refused(Exception):
    """The process said no."""

    def __init__(self, status_code: int, response: Failure) -> None:
        """Carry what it said."""
        super().__init__(response.message)
        self.status_code = status_code
        self.response = response


class Outgoing(NamedTuple):
    """A request to pass on."""

    method: str
    target: bytes
    """Path and query, encoded."""
    headers: Iterable[tuple[str, str]] = ()
    body: AsyncIterator[bytes] | None = None
    timeout: float | None = None
    """Seconds until the answer begins, and between its parts; None waits for ever."""


class RuntimeClient:
    """Calls processes; one client serves any number of them."""

    def __init__(self, token_for: Callable[[str], str]) -> None:
        """Identify to a deployment (or host) with the token made for its id."""
        self.token_for = token_for
        self._lines: dict[str, Line] = {}
        self._http = httpx.AsyncClient(
            trust_env=False,  # a proxy of the environment has no business between us and a process
            # Shorter than the five seconds after which servers commonly hang up, so that we hang up first.
            # Few, since the pool searches all of them for each of them at every request.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=4.0),
            timeout=httpx.Timeout(COMMAND_TIMEOUT, connect=CONNECT_TIMEOUT),
        )

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        for line in self._lines.values():
            line.end()
        await self._http.aclose()

    async def status(
        self,
        location: str,
        deployment_id: str,
        timeout: float,
        hung_up: Callable[[], None] | None = None,
    ) -> Observation:
        """Look at the process, over a line that is kept for the next look; `hung_up` is called when the
        process ends it meanwhile. Raises Unreachable."""
        line = self._lines.get(location)
        if line is None:
            line = self._lines[location] = Line(location, partial(self._lines.__delitem__, location))
        line.tell = hung_up
        try:
            async with asyncio.timeout(timeout):
                status, body = await line.get("/status", self.token_for(deployment_id), STATUS_BYTES)
        except (Broken, OSError, ValueError) as problem:
            raise _unreachable(problem, location, timeout) from problem
        if status in _NOT_THE_PROCESS:
            raise _somebody_else(location)
        return observation(status, body)

    async def command(
        self, location: str, deployment_id: str, method: str, path: str, timeout: float = COMMAND_TIMEOUT
    ) -> None:
        """Tell the process to do something. Raises Unreachable, Busy, Refused."""
        outgoing = Outgoing(method, path.encode(), timeout=timeout)
        answer = await self._ask(location, deployment_id, outgoing)
        if answer.is_success:
            return
        failure = _failure(answer.content) or _nonsense(answer.status_code, answer.content)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise Busy(failure.message)
        raise Refused(answer.status_code, failure)

    async def forward(self, location: str, token_id: str, outgoing: Outgoing) -> httpx.Response:
        """Pass a request on and return the answer as soon as it begins; the caller reads it with
        `parts` and closes it. Raises Unreachable."""
        headers = {name: value for name, value in outgoing.headers if name.lower() in _PASSED_ON}
        headers.setdefault("accept-encoding", "identity")  # httpx would ask for what the caller cannot read
        headers["authorization"] = f"Bearer {self.token_for(token_id)}"
        try:
            request = self._http.build_request(
                outgoing.method,
                httpx.URL(f"http://{location}").copy_with(raw_path=outgoing.target),
                headers=headers,
                content=outgoing.body,
                timeout=httpx.Timeout(outgoing.timeout, connect=CONNECT_TIMEOUT),
            )
            async with asyncio.timeout(outgoing.timeout):
                answer = await self._http.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as problem:
            raise _unreachable(problem, location, outgoing.timeout) from problem
        if answer.status_code in _NOT_THE_PROCESS:
            await answer.aclose()
            raise _somebody_else(location)
        return answer

    async def converse(self, location: str, deployment_id: str, path: str) -> ClientConnection:
        """Open a WebSocket to the process, which the caller closes. Raises Unreachable."""
        opening = _Connect(
            f"ws://{location}{path}",
            additional_headers={"authorization": f"Bearer {self.token_for(deployment_id)}"},
            open_timeout=CONNECT_TIMEOUT,
            max_size=FRAME,
            close_timeout=1.0,  # the client has left by then, or is waiting
            ping_interval=None,  # a process that is gone hangs up, and one that is busy need not answer
            compression=None,
            proxy=None,
        )
        try:
            return await opening
        except (OSError, TimeoutError, ValueError, WebSocketException) as problem:
            raise _unreachable(problem, location, CONNECT_TIMEOUT) from problem

    async def _ask(self, location: str, deployment_id: str, outgoing: Outgoing) -> httpx.Response:
        answer = await self.forward(location, deployment_id, outgoing)
        try:
            async with asyncio.timeout(outgoing.timeout):
                await answer.aread()
        except (httpx.HTTPError, TimeoutError) as problem:
            raise _unreachable(problem, location, outgoing.timeout) from problem
        finally:
            await answer.aclose()
        return answer


class _Connect(connect):
    """Goes where it is told and nowhere else: the token is for one process."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow no redirect."""
        return exc


def _somebody_else(location: str) -> Unreachable:
    return Unreachable(f"Whoever answers at {location} is not this deployment")


def relayed_headers(answer: httpx.Response) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that are about its content, not about the connection it came by."""
    named = {part.strip().lower() for part in answer.headers.get("connection", "").split(",")}
    dropped = {name.encode() for name in _HOP_BY_HOP | _OURS | named}
    return [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in dropped]


async def parts(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The body of an answer as it comes, still encoded. Raises Unreachable."""
    try:
        async for part in answer.aiter_raw():
            yield part
    except httpx.HTTPError as problem:
        raise _unreachable(problem, answer.url.netloc.decode(), None) from problem


def observation(status_code: int, body: bytes) -> Observation:
    """What an answer to `GET /status` means (contract §1.6). Never raises."""
    if status_code == httpx.codes.OK:
        return _seen(body) or _unavailable("The process gave a status that makes no sense.")
    failure = _failure(body)
    if status_code == httpx.codes.SERVICE_UNAVAILABLE:
        code = failure.error_code if failure else ""
        status, desired = _UNREADY.get(code, (RuntimeStatus.UNAVAILABLE, RuntimeDesired.UNAVAILABLE))
        details = {"reason": failure.message} if failure else {}
        return Observation(runtime_status=status, runtime_desired_status=desired, details=details)
    unavailable = _unavailable("The process failed.")
    return unavailable.model_copy(update={"fatal": failure or _nonsense(status_code, body)})


def details(raw: Any) -> dict[str, Any]:
    """Runtime status details in today's shape, whatever shape an older process gave them."""
    match raw:
        case None:
            return {}
        case str():
            return {"reason": raw}
        case {"program_diff": _}:
            return {"approval_diff": raw}
        case dict():
            return raw
        case _:
            return {"reason": f"{_JSON_NAMES.get(type(raw), 'Value')}: {json.dumps(raw)}"}


_JSON_NAMES = {bool: "Bool", int: "Number", float: "Number", list: "Array"}


def _seen(body: bytes) -> Observation | None:
    raw = _json(body)
    try:
        if isinstance(raw, str) and raw in _LEGACY:
            status, desired = _LEGACY[raw]
            return Observation(runtime_status=status, runtime_desired_status=desired)
        if isinstance(raw, dict):
            return Observation(
                runtime_status=raw["runtime_status"],
                runtime_desired_status=raw["runtime_desired_status"],
                details=_bounded(details(raw.get("runtime_status_details"))),
                storage_status_details=_bounded(raw.get("storage_status_details")),
            )
    except (KeyError, ValidationError):
        return None
    return None


def _unavailable(reason: str) -> Observation:
    return Observation(
        runtime_status=RuntimeStatus.UNAVAILABLE,
        runtime_desired_status=RuntimeDesired.UNAVAILABLE,
        details={"reason": reason},
    )


def _failure(body: bytes) -> Failure | None:
    raw = _json(body)
    if not isinstance(raw, Mapping):
        return None
    try:
        found = Failure(
            message=raw.get("message"),
            error_code=raw.get("error_code"),
            details=_bounded(raw.get("details")),
        )
    except ValidationError:
        return None
    left_out = len(found.message) - MESSAGE
    if left_out > 0:
        found = found.model_copy(
            update={"message": f"{found.message[:MESSAGE]}… ({left_out} characters are left out)"}
        )
    return found


def _bounded(raw: Any) -> Any:
    """Leave out what would take too much room wherever a status is kept."""
    size = len(json.dumps(raw))
    if size <= DETAILS:
        return raw
    return {"reason": f"The details take {size} bytes, and no more than {DETAILS} are kept."}


def _nonsense(status_code: int, body: bytes) -> Failure:
    text = f"status {status_code} with the body {body[:200]!r}"
    problem = errors.PipelineInteractionInvalidResponse(pipeline_name="N/A", error=text)
    return Failure(message=problem.message, error_code=problem.error_code, details=problem.details)


def _json(body: bytes) -> Any:
    if len(body) > STATUS_BYTES:
        return None
    try:
        return json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return None


def _not_json(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _unreachable(problem: Exception, location: str, timeout: float | None) -> Unreachable:
    text = str(problem) or type(problem).__name__
    match problem:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.InvalidURL():
            return NotConnected(f"Failed to connect to host {location}: {text}")
        case httpx.TimeoutException() | TimeoutError():
            return TimedOut(f"Timeout: no answer from {location} within {timeout or 0:g} s")
        case OSError() | ValueError():
            return NotConnected(f"Failed to connect to host {location}: {text}")
        case _:
            causes = "the process crashed or was stopped, or the network broke"
            return Disconnected(f"Disconnected from {location} in the middle of a request: {causes} ({text})")
