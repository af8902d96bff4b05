"""I9: no tenant reads, changes or infers another tenant's pipelines."""

import json
from typing import Any

from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording, Run

LIST = "/v0/pipelines"


def check(recording: Recording) -> Finding:
    """No answer to the second tenant has the id of a pipeline of the first; a name that only the first has
    is unknown to it, whatever it calls; its list has its own pipelines only. And no status shown to the
    first tenant is one of the second's."""
    run = recording.run()
    cases, violations = 0, []
    for glimpse in recording.read("glimpses"):
        cases += 1
        if problem := _seen(run, glimpse):
            violations.append(f"{glimpse['method']} {glimpse['path']}: {problem}: {glimpse['body'][:300]}")
    for look in recording.read("looks"):
        if look["id"] in run.others:
            violations.append(f"the first tenant was shown {look['name']} of the second")
    return Finding("I9", "answers to another tenant", cases, tuple(violations))


def _seen(run: Run, glimpse: dict[str, Any]) -> str | None:
    if any(pipeline in glimpse["body"] for pipeline in run.created):
        return "it has the id of a pipeline of another tenant"
    if glimpse["status"] >= 500:
        return None
    if glimpse["path"] == LIST:
        ids = {shown["id"] for shown in json.loads(glimpse["body"])}
        return "it lists what is not its own" if ids - set(run.others) else None
    name = glimpse["path"].removeprefix(f"{LIST}/").partition("/")[0]
    if name not in run.others.values() and glimpse["status"] != 404:
        return f"it is {glimpse['status']} and not unknown"
    return None
