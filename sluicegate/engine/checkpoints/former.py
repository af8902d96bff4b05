"""Checkpoints as earlier releases made them: a folder with the whole database and its metadata.

They are listed, restored and removed; none is made any more. Nothing tells which program they are of but the
digest of its relations, so a changed program can be compared with none of them.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import BinaryIO

from sluicegate.engine.checkpoints.manifest import Damaged, Manifest

PIECE = 1 << 20


def listed(folder: Path) -> tuple[list[Manifest], dict[str, str]]:
    """Return what can be read, the newest first, and why the others cannot, by uuid."""
    found, damaged = [], {}
    for metadata in folder.glob("[!.]*/metadata.json"):
        uuid = metadata.parent.name
        try:
            raw = json.loads(metadata.read_text())
            known = ("created_at", "program_version", "plan_digest", "processed_records", "steps", "checksum")
            found.append(
                Manifest(
                    uuid=uuid,
                    pipeline="",
                    plan=None,
                    former_size=raw["size"],
                    **{key: raw[key] for key in known},
                )
            )
        except (ValueError, TypeError, KeyError) as error:
            damaged[uuid] = f"{metadata} is damaged: {error}"
    return sorted(found, key=lambda each: each.created_at, reverse=True), damaged


def copy(folder: Path, manifest: Manifest, target: BinaryIO) -> None:
    """Copy the database of a checkpoint; raises Damaged where it is not what was written."""
    digest = hashlib.sha256()
    try:
        with (folder / manifest.uuid / "data.duckdb").open("rb") as source:
            while piece := source.read(PIECE):
                digest.update(piece)
                target.write(piece)
    except FileNotFoundError as error:
        raise Damaged(f"{error.filename} is missing") from error
    if digest.hexdigest() != manifest.checksum:
        raise Damaged("its checksum does not match")


def remove(folder: Path, uuid: str) -> None:
    """Remove a checkpoint; a removal cut short leaves no half of it under its own name."""
    doomed = folder / f".{uuid}"
    (folder / uuid).rename(doomed)
    shutil.rmtree(doomed)
