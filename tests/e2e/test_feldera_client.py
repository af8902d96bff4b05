"""The official client drives the main job unchanged."""

import asyncio
from typing import Any

import pandas
import pytest
from feldera import FelderaClient, PipelineBuilder
from feldera.enums import PipelineStatus

SQL = """
CREATE TABLE people (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR, born TIMESTAMP)
WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW how_many AS SELECT COUNT(*) AS n FROM people;
"""


# The client sends frames in a format that pandas will drop some day.
@pytest.mark.filterwarnings("ignore:'epoch' date format is deprecated")
@pytest.mark.timeout(180)
async def test_the_main_job(control_plane: Any) -> None:
    await asyncio.to_thread(_main_job, control_plane.url)


def _main_job(url: str) -> None:
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
