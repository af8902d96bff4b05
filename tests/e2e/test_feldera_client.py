"""The official client drives the main job unchanged."""

import asyncio
from pathlib import Path
from typing import Any

import pandas
import pytest
from feldera import FelderaClient, Pipeline, PipelineBuilder
from feldera.enums import PipelineStatus
from feldera.rest.errors import FelderaAPIError

SQL = """
CREATE TABLE people (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR, born TIMESTAMP)
WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW how_many AS SELECT COUNT(*) AS n FROM people;
"""


# The client sends frames in a format that pandas will drop some day.
@pytest.mark.filterwarnings("ignore:'epoch' date format is deprecated")
@pytest.mark.timeout(180)
async def test_the_main_job(control_plane: Any, tmp_path: Path) -> None:
    await asyncio.to_thread(_main_job, control_plane.url, tmp_path)


def _ask(pipeline: Pipeline, folder: Path) -> None:
    """Ask in every way that the client has."""
    sql = "SELECT id, name FROM people ORDER BY id"
    rows = [{"id": 1, "name": "Ada"}, {"id": 3, "name": "Grace"}, {"id": 4, "name": "Edsger"}]
    assert list(pipeline.query(sql)) == rows
    assert list(pipeline.query_arrow_dicts(sql)) == rows
    assert sum(batch.num_rows for batch in pipeline.query_arrow(sql)) == 3
    pipeline.query_parquet(sql, str(folder / "people"))
    assert pandas.read_parquet(folder / "people.parquet").to_dict("records") == rows
    assert "Edsger" in "".join(pipeline.query_tabular(sql))
    assert pipeline.query_hash(sql) == pipeline.query_hash(f"{sql} DESC")
    pipeline.execute("INSERT INTO people VALUES (5, 'Barbara', NULL)")
    assert list(pipeline.query("SELECT n FROM how_many")) == [{"n": 4}]
    with pytest.raises(FelderaAPIError, match="Object 'nothing' not found"):
        list(pipeline.query("SELECT * FROM nothing"))


def _main_job(url: str, folder: Path) -> None:
    client = FelderaClient(url, connection_timeout=10)
    pipeline = PipelineBuilder(client, "official", SQL).create()
    assert pipeline.status() == PipelineStatus.STOPPED
    pipeline.start()
    assert pipeline.status() == PipelineStatus.RUNNING
    pipeline.input_json("people", [{"id": 1, "name": "Ada"}, {"id": 2, "name": None}])
    pipeline.input_json("people", {"delete": {"id": 2}}, update_format="insert_delete")
    frame = pandas.DataFrame(
        {"id": [3, 4], "name": ["Grace", "Edsger"], "born": pandas.to_datetime(["1906-12-09", "1930-05-11"])}
    )
    pipeline.input_pandas("people", frame)
    assert list(pipeline.query("SELECT n FROM how_many")) == [{"n": 3}]
    _ask(pipeline, folder)
    table = "".join(client.query_as_text("official", "SELECT name FROM people ORDER BY id"))
    assert "Grace" in table
    pipeline.pause()
    assert pipeline.status() == PipelineStatus.PAUSED
    pipeline.resume()
    assert pipeline.status() == PipelineStatus.RUNNING
    born = list(pipeline.query("SELECT born FROM people WHERE id = 3"))
    assert born[0]["born"].startswith("1906-12-09")
    pipeline.stop(force=True)
    assert pipeline.status() == PipelineStatus.STOPPED
    pipeline.clear_storage()
    pipeline.delete()
    assert pipeline.status() == PipelineStatus.NOT_FOUND
