"""What a run of the fuzzer has done, read from its report."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

METHODS = ("get", "put", "post", "delete", "patch")
CREATE, DELETE = "POST /v0/pipelines", "DELETE /v0/pipelines/{pipeline_name}"


class Call(NamedTuple):
    """One request that was answered."""

    operation: str
    status: int
    pipeline: str | None
    linked: bool
    """It came by a link from an earlier call of its scenario."""

    @property
    def succeeded(self) -> bool:
        """Whether it was done."""
        return 200 <= self.status < 300


class Scenario(NamedTuple):
    """Calls in their order."""

    stateful: bool
    calls: tuple[Call, ...]


def operations(document: dict[str, Any]) -> set[str]:
    """All operations of an OpenAPI document."""
    return {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


def scenarios(report: Iterable[str]) -> Iterator[Scenario]:
    """Read the lines of a report, one event each."""
    for line in report:
        if finished := json.loads(line).get("ScenarioFinished"):
            yield Scenario(finished["phase"] == "stateful", tuple(_calls(finished["recorder"])))


def _calls(recorder: dict[str, Any]) -> Iterator[Call]:
    answered = recorder.get("interactions", {})
    for case_id, node in recorder.get("cases", {}).items():
        case, response = node["value"], answered.get(case_id, {}).get("response")
        if response is None:
            continue
        operation = f"{case['method'].upper()} {case['path']}"
        named = case.get("body") if operation == CREATE else case.get("path_parameters")
        name = named.get("name", named.get("pipeline_name")) if isinstance(named, dict) else None
        yield Call(operation, response["status_code"], name, "parent_id" in node)


def lives(scenario: Scenario) -> Iterator[tuple[str, ...]]:
    """What was done to each pipeline that a stateful scenario has created and, by a link, deleted: all
    operations from the one to the other that came by links and succeeded."""
    under_way: dict[str, list[str]] = {}
    for call in scenario.calls if scenario.stateful else ():
        if not (call.succeeded and isinstance(call.pipeline, str)):
            continue
        if call.operation == CREATE:
            under_way[call.pipeline] = [CREATE]
        elif call.linked and call.pipeline in under_way:
            under_way[call.pipeline].append(call.operation)
            if call.operation == DELETE:
                yield tuple(under_way.pop(call.pipeline))
