"""What is measured of a pipeline, in its record, so that it outlives every process of the control plane."""

from datetime import datetime

from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.status import Initial, ResourcesStatus, RuntimeStatus


def measured(p: Pipeline, at: datetime) -> Pipeline:
    """Note since when status and desired status differ, and how long a deployment took to run.

    A deployment counts once, and only where it was to run at once.
    """
    m = p.measures
    apart = p.deployment_status != p.deployment_desired_status
    m = m.but(apart_since=(m.apart_since or at) if apart else None)
    if _runs_as_started(p) and m.counted != p.generation:
        took = max((at - p.resources_desired_since).total_seconds(), 0.0)
        m = m.but(counted=p.generation, starts=m.starts + 1, seconds_to_run=m.seconds_to_run + took)
    return p if m == p.measures else p.but(measures=m)


def _runs_as_started(p: Pipeline) -> bool:
    deployed = p.resources_status is ResourcesStatus.PROVISIONED and p.deployment_initial is Initial.RUNNING
    return deployed and p.runtime_status is RuntimeStatus.RUNNING
