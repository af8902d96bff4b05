"""I6: after a delete nothing labelled with the pipeline's id remains, eventually."""

from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording


def check(recording: Recording) -> Finding:
    """Of no deleted pipeline was there a process with its cookie, a folder or trash of its own, a schedule or
    a clean-up under way when the run ended, nor a process in the last sample; and each could be deleted."""
    run = recording.run()
    violations = [f"{pipeline}: cannot be deleted" for pipeline in run.kept]
    violations += [f"{pipeline}: {what}" for pipeline, left in run.remains.items() for what in left]
    samples = recording.read("samples")
    for pipeline in set(run.deleted) & set(samples[-1]["live"] if samples else ()):
        violations.append(f"{pipeline}: deleted, and {samples[-1]['live'][pipeline]} lives")
    return Finding("I6", "deleted pipelines", len(run.deleted), tuple(violations))
