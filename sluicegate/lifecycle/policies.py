"""What users set so that a pipeline is kept as they want it while nobody looks: restart policy, schedules."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sluicegate.lifecycle.values import Value

DAY = 86_400


class RestartPolicy(Value):
    """Whether a deployment that failed is deployed again by itself, and how patiently; times in seconds."""

    policy: Literal["never", "on_failure"] = Field("never", description="When to restart.")
    max_attempts: int = Field(
        5, ge=1, le=1000, description="Restarts in a row, without being healthy between, until it gives up."
    )
    initial_backoff_secs: float = Field(1.0, ge=0.1, le=3_600, description="Wait before the first restart.")
    max_backoff_secs: float = Field(300.0, ge=0.1, le=DAY, description="No wait is longer, give or take.")
    backoff_factor: float = Field(2.0, ge=1, le=10, description="By which each wait exceeds the one before.")
    healthy_after_secs: float = Field(
        60.0, ge=1, le=DAY, description="A deployment that has worked for so long begins counting anew."
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.max_backoff_secs < self.initial_backoff_secs:
            raise ValueError("max_backoff_secs must not be less than initial_backoff_secs")
        return self


class Schedule(Value):
    """A verb that is told to a pipeline at certain times; a revision is one state of it, and what drives."""

    verb: Literal["start", "stop"]
    cron: str
    timezone: str = "UTC"
    arguments: dict[str, Any] = {}
    paused: bool = False
    revision: int = 0
