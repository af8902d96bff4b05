"""Checkpoints as an earlier release has made them: they are restored, and go when there are newer ones."""

import hashlib
import json
import shutil
import uuid
from pathlib import Path

import duckdb

from sluicegate.engine.plan import Plan
from tests.engine.checkpoints.test_running import PROGRAM, checkpoint, crash, ids, ingest, listed
from tests.engine.conftest import Deploy, Engine, compiled


def make_former(engine: Engine) -> str:
    """Turn the live database of a process that was killed into a checkpoint of the earlier release."""
    assert engine.storage is not None
    [live] = (engine.storage / "live").glob("*.duckdb")
    with duckdb.connect(str(live)) as database:
        for ours in ("~program", "~states"):
            database.execute(f'DROP TABLE "{ours}"')
        database.execute("CHECKPOINT")
    name = str(uuid.uuid4())
    folder = engine.storage / "checkpoints" / name
    folder.mkdir()
    data = Path(shutil.copy(live, folder / "data.duckdb")).read_bytes()
    metadata = {
        "uuid": name,
        "created_at": "2026-01-01T00:00:00+00:00",
        "program_version": 1,
        "plan_digest": Plan.from_json(compiled(engine.program)).digest(),
        "processed_records": 2,
        "steps": 1,
        "size": len(data),
        "checksum": hashlib.sha256(data).hexdigest(),
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return name


def test_a_former_checkpoint_is_restored_and_replaced(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    ingest(engine, 1, 2)
    crash(engine)
    name = make_former(engine)
    engine.start()
    assert ids(engine) == [1, 2]
    assert [each["uuid"] for each in listed(engine)] == [name]
    ingest(engine, 3)
    checkpoint(engine)
    assert [each["uuid"] for each in listed(engine)][1:] == [name]
    ingest(engine, 4)
    checkpoint(engine)
    assert name not in [each["uuid"] for each in listed(engine)]
    crash(engine)
    assert ids(engine.start()) == [1, 2, 3, 4]


def test_a_former_checkpoint_that_is_damaged_is_told(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    ingest(engine, 1, 2)
    crash(engine)
    name = make_former(engine)
    assert engine.storage is not None
    data = engine.storage / "checkpoints" / name / "data.duckdb"
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    answer = engine.start().http.get("/status")
    assert answer.status_code == 500
    assert f"checkpoint {name} is damaged: its checksum does not match" in answer.json()["message"]
