"""From request bodies to what workflows take: descriptors and edits, checked as contract §3.5 orders it."""

import json
from typing import Any

from api.errors import PlainText
from api.parse import Caller
from api.shapes import NewPipeline, PatchPipeline
from sluicegate import config, errors
from sluicegate.lifecycle import edits, ids
from sluicegate.lifecycle.edits import TEXT_KEYS, Edit
from sluicegate.lifecycle.values import Packed
from sluicegate.protocol import PLATFORM_VERSION

MAX_TEXT = 1 << 20
MAX_ENCODED = 3 << 19
"""A larger argument of an update would be admitted by the server and then wedge the workflow."""


NO_FEATURES: frozenset[str] = frozenset()


def descriptor(new: NewPipeline, features: frozenset[str] = NO_FEATURES) -> dict[str, Any]:
    """Check a new pipeline and return the arguments of `record.created`. Raises Refusal."""
    texts = packed({key: getattr(new, key) or "" for key in TEXT_KEYS})
    checked = {
        "texts": texts,
        "name": edits.check_name(new.name),
        "runtime_config": config.runtime_config(new.runtime_config),
        "program_config": _program_config(new.program_config, features),
        "description": edits.check_description(new.description or ""),
        "tags": edits.check_tags(tuple(new.tags or ())),
    }
    _check_size({**checked, "texts": texts.zlib64})
    return checked


def fingerprint(checked: dict[str, Any]) -> str:
    """Tell this creation from another under the same request id."""
    return ids.fingerprint(json.dumps({**checked, "texts": checked["texts"].text}))


def replacement(new: NewPipeline, caller: Caller, features: frozenset[str] = NO_FEATURES) -> Edit:
    """Make the edit of a PUT, with every field given. Raises Refusal."""
    patch = PatchPipeline(
        name=new.name,
        program_code=new.program_code,
        description=new.description or "",
        tags=new.tags or [],
        udf_rust=new.udf_rust or "",
        udf_toml=new.udf_toml or "",
        runtime_config={} if new.runtime_config is None else new.runtime_config,
        program_config={} if new.program_config is None else new.program_config,
    )
    return change(patch, caller, features).model_copy(update={"replace": True})


def platform_update(caller: Caller) -> Edit:
    """Make the edit that moves a pipeline to the current platform, and nothing else (contract §2.10)."""
    return _nothing(caller).model_copy(update={"replace": True})


def platform_pretence(caller: Caller, version: str | None) -> Edit:
    """Make the edit of `/testing`; without a version it changes nothing (contract §2.10)."""
    return _nothing(caller).model_copy(update={"set_platform_version": version})


def _nothing(caller: Caller) -> Edit:
    return Edit(request_id=caller.request_id, actor=caller.actor, platform_version=PLATFORM_VERSION)


def change(patch: PatchPipeline, caller: Caller, features: frozenset[str] = NO_FEATURES) -> Edit:
    """Make the edit of a PATCH; description and tags are judged by whoever knows whether they change.

    Raises Refusal.
    """
    texts = {key: text for key in TEXT_KEYS if (text := getattr(patch, key)) is not None}
    shrunk = packed(texts)
    edit = Edit(
        request_id=caller.request_id,
        actor=caller.actor,
        platform_version=PLATFORM_VERSION,
        name=None if patch.name is None else edits.check_name(patch.name),
        description=patch.description,
        tags=None if patch.tags is None else tuple(patch.tags),
        texts=shrunk if texts else None,
        runtime_config=None if patch.runtime_config is None else config.runtime_config(patch.runtime_config),
        program_config=None
        if patch.program_config is None
        else _program_config(patch.program_config, features),
    )
    _check_size(edit)
    return edit


def _program_config(raw: Any, features: frozenset[str]) -> dict[str, Any]:
    """Check a program configuration, and that it asks for nothing that is not enabled (contract §3.7)."""
    checked = config.program_config(raw)
    if checked["runtime_version"] is not None and "runtime_version" not in features:
        text = "runtime_version needs the unstable feature 'runtime_version', which is not enabled"
        raise errors.InvalidProgramConfig(value=raw, error={"DeserializationFailed": text})
    return checked


def packed(texts: dict[str, str]) -> Packed:
    """Pack the texts of a program. Raises PlainText where they are too large."""
    if sum(len(text.encode()) for text in texts.values()) > MAX_TEXT:
        raise PlainText(413, f"The program text is larger than {MAX_TEXT} bytes.")
    return Packed.of_json(texts)


def _check_size(argument: Edit | dict[str, Any]) -> None:
    if edits.encoded_size(argument) > MAX_ENCODED:
        raise PlainText(413, f"The pipeline takes more than {MAX_ENCODED} bytes even when compressed.")
