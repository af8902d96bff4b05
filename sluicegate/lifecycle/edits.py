"""Descriptors and edits: what a pipeline is made of, and when which part of it may change (contract §3)."""

import json
import re
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import Field

from sluicegate import config, errors
from sluicegate.lifecycle import ids, refusals, restarts, schedules
from sluicegate.lifecycle.policies import RestartPolicy, Schedule
from sluicegate.lifecycle.receipts import Receipt
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.status import StorageStatus
from sluicegate.lifecycle.values import Packed, Value

MAX_NAME_BYTES = 63
MAX_DESCRIPTION = 300
MAX_TAGS = 50
MAX_TAG = 50
MAX_PIPELINE = 1_350_000
"""Encoded bytes of a record; with what is compiled, the receipts and the journal it must stay below the two
MiB that a Temporal server takes."""
NAME = r"^([A-Za-z0-9][-A-Za-z0-9_]*)?[A-Za-z0-9]$"
_TAG = re.compile(r"[a-zA-Z0-9 ._/|\\:=-]+")
TEXT_KEYS = ("program_code", "udf_rust", "udf_toml")

_BOUND_TO_STORAGE = (
    ("workers",),
    ("hosts",),
    ("fault_tolerance",),
    ("clock_timezone_offset",),
    ("resources", "storage_mb_max"),
    ("resources", "namespace"),
    ("resources", "storage_class"),
)
"""Parts of runtime_config that what is stored depends on (contract §3.5)."""


class Edit(Value):
    """A PATCH, or a PUT with every field given; None means unchanged. Configurations are complete."""

    request_id: str
    actor: str
    platform_version: str
    replace: bool = False
    """A PUT, which also moves the pipeline to the current platform."""
    name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] | None = None
    texts: Packed | None = None
    """JSON object with those of program_code, udf_rust and udf_toml that are given."""
    runtime_config: dict[str, Any] | None = None
    program_config: dict[str, Any] | None = None
    set_platform_version: str | None = None
    """Pretend that the pipeline was made on this platform: for tests, so in any status and for no version."""
    restart_policy: RestartPolicy | None = None
    schedules: dict[str, Schedule | None] | None = None
    """Schedules to put in, and (None) to remove."""
    # What came after the first release is left out where it says nothing: a fingerprint covers fields that
    # a release does not know, and the same edit must have the same one on either side of an upgrade.
    receipts_before: tuple[Receipt, ...] = Field(default=(), exclude_if=lambda receipts: not receipts)
    """Of a rename: the receipts of whoever had the new name before."""

    @property
    def fingerprint(self) -> str:
        """Tell this edit from another under the same id."""
        not_asked_for = {"request_id", "actor", "platform_version", "receipts_before"}
        return ids.fingerprint(self.model_dump_json(exclude=not_asked_for))


class Removal(Value):
    """A DELETE."""

    request_id: str
    actor: str

    @property
    def fingerprint(self) -> str:
        """All deletes are alike."""
        return "delete"


def check_name(name: str) -> str:
    """Return a valid name. Raises EmptyName, TooLongName, NameDoesNotMatchPattern, in that order."""
    if not name:
        raise errors.EmptyName
    length = len(name.encode())
    if length > MAX_NAME_BYTES:
        raise errors.TooLongName(name=name, length=length, maximum=MAX_NAME_BYTES)
    if not re.fullmatch(NAME[1:-1], name):
        words = "letters, digits, hyphens and underscores, beginning and ending with a letter or digit"
        raise errors.NameDoesNotMatchPattern(name=name, pattern=NAME, pattern_description=words)
    return name


def check_description(description: str) -> str:
    """Return a valid description. Raises TooLongDescription."""
    if len(description) > MAX_DESCRIPTION:
        raise refusals.TooLongDescription(length=len(description), maximum=MAX_DESCRIPTION)
    return description


def check_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return valid tags. Raises TooManyTags, InvalidTag."""
    if len(tags) > MAX_TAGS:
        raise refusals.TooManyTags(count=len(tags), maximum=MAX_TAGS)
    for tag in tags:
        if not 0 < len(tag) <= MAX_TAG:
            raise refusals.InvalidTag(tag=tag, reason=f"it must have 1 to {MAX_TAG} characters")
        if not _TAG.fullmatch(tag):
            raise refusals.InvalidTag(
                tag=tag, reason=r"only letters, digits, space and . _ / | \ : = - may occur"
            )
    return tags


class Edited(NamedTuple):
    """The record after an edit, and whether that is an event (a change of more than the metadata)."""

    pipeline: Pipeline
    event: bool


def apply(p: Pipeline, edit: Edit, at: datetime) -> Edited:
    """Apply an edit; equal values change nothing and are never refused. Raises Refusal.

    Checks again what the front end has checked, since an edit may also come from elsewhere.
    """
    described = _with_metadata(p, edit)
    changed = _with_core(described, edit)
    if changed == described:
        return Edited(described, event=False)
    if not p.fully_stopped:
        raise refusals.UpdateRestrictedToStopped
    if p.storage_status is not StorageStatus.CLEARED and (refused := _bound_to_storage(p, changed)):
        raise refusals.EditRestrictedToClearedStorage(not_allowed=refused)
    check_size(changed)
    if changed.name != p.name:
        changed = schedules.moved(changed)
    versioned = changed.but(version=p.version + 1, refresh_version=p.refresh_version + 1)
    if _program(versioned) != _program(p):
        versioned = versioned.with_new_program(edit.platform_version, at)
    return Edited(versioned, event=True)


def _with_metadata(p: Pipeline, edit: Edit) -> Pipeline:
    if edit.description is not None and edit.description != p.description:
        p = p.but(description=check_description(edit.description))
    if edit.tags is not None and edit.tags != p.tags:
        p = p.but(tags=check_tags(edit.tags))
    if edit.set_platform_version is not None:
        p = p.but(platform_version=edit.set_platform_version)
    if edit.restart_policy is not None and edit.restart_policy != p.restart_policy:
        p = restarts.under(p, edit.restart_policy)
    if edit.schedules is not None:
        p = schedules.changed(p, edit.schedules)
    return p


def _with_core(p: Pipeline, edit: Edit) -> Pipeline:
    changes: dict[str, Any] = {}
    if edit.name is not None:
        changes["name"] = check_name(edit.name)
    if edit.runtime_config is not None:
        changes["runtime_config"] = config.runtime_config(edit.runtime_config)
    if edit.program_config is not None:
        changes["program_config"] = config.program_config(edit.program_config)
    if (
        edit.texts is not None
        and (merged := p.texts.json_value | edit.texts.json_value) != p.texts.json_value
    ):
        changes["texts"] = Packed.of_json(merged)
    if edit.replace:
        changes["platform_version"] = edit.platform_version
    return p.but(**changes)


def check_size(p: Pipeline) -> None:
    """Raise PipelineTooLarge where a record has no room for the rest. What is compiled has a bound of its
    own, and is not there yet when the program changes."""
    size = encoded_size(p.but(plan=None, program_info=None))
    if size > MAX_PIPELINE:
        raise refusals.PipelineTooLarge(size=size, maximum=MAX_PIPELINE)


def _program(p: Pipeline) -> tuple[Any, ...]:
    """What a new program version follows from."""
    return p.texts, p.program_config, p.platform_version


def _bound_to_storage(old: Pipeline, new: Pipeline) -> list[str]:
    refused = ["`name`"] if old.name != new.name else []
    for path in _BOUND_TO_STORAGE:
        before: Any = old.runtime_config
        after: Any = new.runtime_config
        for key in path:
            before, after = before[key], after[key]
        if before != after:
            refused.append(f"`runtime_config.{'.'.join(path)}`")
    return refused


def check_delete(p: Pipeline) -> None:
    """Raise DeleteRestrictedToFullyStopped or DeleteRestrictedToClearedStorage where a delete must wait."""
    if not p.fully_stopped:
        raise refusals.DeleteRestrictedToFullyStopped
    if p.storage_status is not StorageStatus.CLEARED:
        raise refusals.DeleteRestrictedToClearedStorage


def encoded_size(edit: Value | dict[str, Any]) -> int:
    """Bytes that an edit, a pipeline or a descriptor takes on the wire."""
    return len((edit.model_dump_json() if isinstance(edit, Value) else json.dumps(edit)).encode())
