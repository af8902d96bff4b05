"""What the engine refuses and how it says so.

    EngineError         anything answered with an error body; has a code, an HTTP status and details
    └── ParseFailure    some records of an ingress request cannot be read

A body that the contract has as plain text is `PlainError`, which has no code.
"""

from typing import Any

from sluicegate.engine import failures, redaction


class EngineError(Exception):
    """An error answered as `{message, error_code, details}`."""

    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details

    def body(self) -> dict[str, Any]:
        """Return the body of the answer, without the value of any secret."""
        found = {"message": self.message, "error_code": self.code, "details": self.details}
        shown: dict[str, Any] = redaction.own().within(found)
        return shown


class PlainError(Exception):
    """An error answered as plain text, as web frameworks do for malformed requests."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def initializing() -> EngineError:
    """Return the answer of a process that is not ready yet."""
    return EngineError(503, "Initializing", "The pipeline is initializing")


def bootstrapping() -> EngineError:
    """Return the answer of a process that computes what has changed of the program before it goes on."""
    return EngineError(503, "BootstrapInProgress", "The pipeline is bootstrapping its changed views", {})


def read_meanwhile() -> EngineError:
    """Return the refusal to fold the log while somebody reads what was there before an update."""
    message = "A query or a stream still reads what was there before the last step; try again later"
    return EngineError(503, "SnapshotInProgress", message, {})


def suspended() -> EngineError:
    """Return the answer of a process that has been suspended."""
    return EngineError(503, "Suspended", "The pipeline is suspended")


def terminating() -> EngineError:
    """Return the answer of a process that is about to end."""
    return EngineError(410, "Terminating", "The pipeline is terminating")


def initialization_failed(inner: EngineError) -> EngineError:
    """Return the answer of a process that could not start, with the reason inside."""
    message = f"Failed to initialize the pipeline: {inner.message}"
    return EngineError(500, "InitializationError", message, {"error": inner.body()})


def worker_panic(cause: Exception, view: str | None = None) -> EngineError:
    """Return what a pipeline says that has ended because a step failed, with the view that it failed in."""
    reason = failures.reason(cause)
    where = f" while view '{view}' was computed" if view is not None else ""
    message = f"The step failed{where}, and nothing of it is kept: {reason}"
    details = {"panics": [{"worker": 0, "view": view, "message": reason}]}
    return EngineError(500, "RuntimeError.WorkerPanic", message, details)


def outdated(view: str) -> EngineError:
    """Return the refusal to follow a view of a plan that is older than the upkeep of views."""
    message = f"The changes of '{view}' are not known: its program was compiled by an earlier release; "
    message += "compile it again"
    return EngineError(400, "NotSupported", message, {"view": view})


def invalid_transition(action: str, status: str) -> EngineError:
    """Return the refusal of an action in the current desired status."""
    message = f"Cannot {action} a pipeline whose desired status is {status}"
    return EngineError(400, "InvalidTransition", message, [action, status])


def query_failed(reason: str) -> EngineError:
    """Return the refusal or failure of an ad-hoc query."""
    return EngineError(400, "AdHocQueryError", f"Error during query processing: {reason}", {"error": reason})


class ParseFailure(EngineError):
    """Some records of a request cannot be read; the others have been ingested."""

    LISTED = 10
    """Errors that the message repeats."""

    def __init__(self, count: int, errors: list[dict[str, Any]]) -> None:
        listed = "\n".join(error["description"] for error in errors[: self.LISTED])
        super().__init__(
            400,
            "ParseErrors",
            f"Errors parsing input data ({count} errors):\n{listed}",
            {"num_errors": count, "errors": errors},
        )
