"""I3: no crash of the control plane stops or restarts a running pipeline."""

from tests.chaos.invariants import timeline
from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording


def check(recording: Recording) -> Finding:
    """Each pipeline that nobody commanded, and whose process no fault was aimed at, has had one and the same
    process from before the first fault until it was stopped at the end."""
    run = recording.run()
    lives = timeline.lives(recording.read("samples"))
    stops = {stop["pipeline"]: stop["asked"] for stop in run.stops}
    violations = []
    for pipeline in run.bystanders:
        own = [life for life in lives if life.pipeline == pipeline]
        until = stops.get(pipeline, run.ended)
        if len(own) != 1:
            violations.append(f"{pipeline}: nobody touched it, and it has had {len(own)} processes: {own}")
        elif own[0].seen > run.began or own[0].gone < until:
            violations.append(f"{pipeline}: nobody touched it, and its process did not live on: {own[0]}")
    return Finding("I3", "pipelines that nobody touched", len(run.bystanders), tuple(violations))
