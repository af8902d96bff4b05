"""The official client and the data of a pipeline: every way in, every way out, and what it may wait for."""

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pandas
import pytest
from feldera import FelderaClient, Pipeline, PipelineBuilder
from feldera.enums import CompletionTokenStatus, TransactionStatus
from feldera.rest.errors import FelderaAPIError

pytestmark = [
    pytest.mark.timeout(180),
    # The client sends frames in a format that pandas will drop some day.
    pytest.mark.filterwarnings("ignore:'epoch' date format is deprecated"),
]
PATIENCE = 30
"""Seconds that anything may take before a test fails: far more than it ever does."""
GENERATED = 20


def connectors(*given: dict[str, Any]) -> str:
    """Write a property of connectors."""
    return f"'connectors' = '{json.dumps(given)}'"


def generator(name: str, **more: Any) -> dict[str, Any]:
    """Return a connector that makes up a few rows."""
    return {
        "name": name,
        "transport": {"name": "datagen", "config": {"plan": [{"limit": GENERATED}]}},
        **more,
    }


FILE = {
    "name": "file",
    "transport": {"name": "file_output", "config": {"path": "made.json"}},
    "format": {"name": "json"},
}
SQL = f"""
CREATE TABLE sale (id BIGINT NOT NULL PRIMARY KEY, shop VARCHAR, amount DECIMAL(10, 2), at TIMESTAMP)
WITH ('materialized' = 'true');
CREATE TABLE made (n BIGINT) WITH ({connectors(generator("gen", paused=True))});
CREATE MATERIALIZED VIEW takings AS
SELECT shop, COUNT(*) AS sales, SUM(amount) AS amount FROM sale GROUP BY shop;
CREATE MATERIALIZED VIEW how_many WITH ({connectors(FILE)}) AS SELECT COUNT(*) AS n FROM made;
"""
ENDS = f"""
CREATE TABLE made (n BIGINT) WITH ({connectors(generator("gen"))});
CREATE MATERIALIZED VIEW how_many AS SELECT COUNT(*) AS n FROM made;
"""


def sale(key: int, shop: str, amount: str | None = "1.00") -> dict[str, Any]:
    """Return a row."""
    return {"id": key, "shop": shop, "amount": amount}


@pytest.fixture(scope="module")
def client(control_plane: Any) -> FelderaClient:
    """The client; nothing here takes it long."""
    return FelderaClient(control_plane.url, connection_timeout=PATIENCE)


@pytest.fixture(scope="module")
def shop(client: FelderaClient) -> Iterator[Pipeline]:
    """One pipeline that runs for all tests; each has a shop of its own."""
    pipeline = PipelineBuilder(client, "shop", SQL).create()
    pipeline.start()
    yield pipeline
    pipeline.stop(force=True)


def waited(look: Callable[[], bool]) -> None:
    """Wait until a look finds what it looks for."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, "it has not come about in time"
        time.sleep(0.05)


def takings(pipeline: Pipeline, name: str) -> list[tuple[int, float]]:
    """Return the number of sales of a shop and what they amount to."""
    rows = pipeline.query(f"SELECT sales, amount FROM takings WHERE shop = '{name}'")
    return [(row["sales"], float(row["amount"])) for row in rows]


# In


def test_input_json(shop: Pipeline) -> None:
    token = shop.input_json("sale", [sale(1, "json"), sale(2, "json")])
    assert shop.completion_token_status(token) is CompletionTokenStatus.COMPLETE
    shop.input_json("sale", sale(3, "json", "2.50"))
    assert takings(shop, "json") == [(3, 4.5)]
    changes = [{"delete": {"id": 1}}, {"insert": sale(2, "json", "7.00")}]
    shop.input_json("sale", changes, update_format="insert_delete")
    assert takings(shop, "json") == [(2, 9.5)]


def test_input_json_without_waiting(shop: Pipeline) -> None:
    token = shop.input_json("sale", sale(10, "later"), wait=False)
    shop.wait_for_token(token)
    assert shop.completion_token_status(token) is CompletionTokenStatus.COMPLETE
    assert takings(shop, "later") == [(1, 1.0)]


def test_input_json_that_does_not_fit(shop: Pipeline) -> None:
    with pytest.raises(FelderaAPIError) as refusal:
        shop.input_json("sale", [sale(20, "fits"), {"id": "x", "shop": "fits"}])
    assert refusal.value.status_code == 400
    assert takings(shop, "fits") == [], "an array is taken whole or not at all"
    with pytest.raises(FelderaAPIError):
        shop.input_json("nothing", {"id": 1})


def test_input_pandas(shop: Pipeline) -> None:
    keys = range(1_000, 3_500)
    frame = pandas.DataFrame(
        {"id": keys, "shop": "pandas", "amount": 2.0, "at": pandas.Timestamp("2024-02-29 12:00:00.5")}
    )
    token = shop.input_pandas("sale", frame)
    assert token is not None
    shop.wait_for_token(token)
    assert takings(shop, "pandas") == [(2_500, 5_000.0)]
    [latest] = shop.query("SELECT MAX(at) AS at FROM sale WHERE shop = 'pandas'")
    assert pandas.Timestamp(latest["at"]) == frame["at"][0]
    with pytest.raises(ValueError, match="does not exist"):
        shop.input_pandas("nothing", frame)


def test_input_while_paused(shop: Pipeline) -> None:
    shop.pause()
    with pytest.raises(RuntimeError, match="paused"):
        shop.input_pandas("sale", pandas.DataFrame({"id": [30], "shop": ["paused"]}))
    token = shop.input_json("sale", sale(31, "paused"), force=True, wait=False)
    shop.resume()
    shop.wait_for_token(token)
    assert takings(shop, "paused") == [(1, 1.0)]


# Out


def test_listen(shop: Pipeline) -> None:
    heard = shop.listen("takings")
    token = shop.input_json("sale", [sale(40, "heard"), sale(41, "heard")], wait=False)
    heard.wait_for_token(token, PATIENCE)
    [row] = heard.to_dict()
    assert (row["shop"], row["sales"], float(row["amount"]), row["insert_delete"]) == ("heard", 2, 2.0, 1)
    token = shop.input_json("sale", {"delete": {"id": 40}}, update_format="insert_delete", wait=False)
    heard.wait_for_token(token, PATIENCE)
    changes = {(row["sales"], row["insert_delete"]) for row in heard.to_dict()}
    assert changes == {(2, -1), (1, 1)}
    assert heard.to_pandas().empty


def test_several_listen(shop: Pipeline) -> None:
    heard = [shop.listen("takings"), shop.listen("takings"), shop.listen("how_many")]
    token = shop.input_json("sale", sale(45, "several"), wait=False)
    for handle in heard:
        handle.wait_for_token(token, PATIENCE)
    assert [len(handle.to_dict()) for handle in heard] == [1, 1, 0]


def test_what_the_changes_add_up_to(shop: Pipeline) -> None:
    heard = shop.listen("takings")
    for key in range(50, 60):
        token = shop.input_json("sale", sale(key, f"sum {key % 3}"), wait=False)
    shop.input_json("sale", {"delete": {"id": 50}}, update_format="insert_delete")
    token = shop.input_json("sale", sale(51, "sum 0"), wait=False)
    heard.wait_for_token(token, PATIENCE)
    added = heard.to_pandas().groupby(["shop", "sales", "amount"], as_index=False)["insert_delete"].sum()
    held = added[added["insert_delete"] != 0]
    assert set(held["insert_delete"]) == {1}
    asked = {(row["shop"], row["sales"]) for row in shop.query("FROM takings WHERE shop LIKE 'sum%'")}
    assert set(zip(held["shop"], held["sales"], strict=True)) == asked


def test_foreach_chunk(shop: Pipeline) -> None:
    chunks: Queue[tuple[pandas.DataFrame, int]] = Queue()
    shop.foreach_chunk("takings", lambda chunk, number: chunks.put((chunk, number)))
    seen = []
    for key in (60, 61):
        shop.input_json("sale", sale(key, "chunk"))
        rows, number = next_with_rows(chunks)
        assert set(rows["shop"]) == {"chunk"}
        seen.append(number)
    assert seen == sorted(set(seen))


def next_with_rows(chunks: "Queue[tuple[pandas.DataFrame, int]]") -> tuple[pandas.DataFrame, int]:
    """Return the next chunk that is more than a sign of life."""
    while True:
        rows, number = chunks.get(timeout=PATIENCE)
        if not rows.empty:
            return rows, number


# Connectors


def test_pause_and_resume_a_connector(shop: Pipeline) -> None:
    assert shop.input_connector_stats("made", "gen").paused
    shop.start_input_connector("made", "gen")
    waited(lambda: bool(shop.input_connector_stats("made", "gen").metrics.end_of_input))
    token = shop.generate_completion_token("made", "gen")
    shop.wait_for_token(token)
    assert list(shop.query("SELECT n FROM how_many")) == [{"n": GENERATED}]
    shop.pause_input_connector("made", "gen")
    assert shop.input_connector_stats("made", "gen").paused
    with pytest.deprecated_call():
        shop.resume_connector("made", "gen")
    assert not shop.input_connector_stats("made", "gen").paused
    with pytest.deprecated_call():
        shop.pause_connector("made", "gen")
    shop.start_input_connector("made", "gen")
    assert not shop.input_connector_stats("made", "gen").paused
    with pytest.raises(FelderaAPIError) as refusal:
        shop.pause_input_connector("made", "nothing")
    assert refusal.value.status_code == 404
    shop.pause_output_connector("how_many", "file")
    shop.start_output_connector("how_many", "file")
    written = shop.output_connector_stats("how_many", "file")
    assert written.metrics.transmitted_records >= 1


# Waiting and watching


def test_stats_and_waiting_until_idle(shop: Pipeline) -> None:
    before = shop.stats().global_metrics.total_completed_records
    shop.input_json("sale", [sale(70, "idle"), sale(71, "idle")])
    shop.wait_for_idle(idle_interval_s=0.3, timeout_s=PATIENCE, poll_interval_s=0.1)
    metrics = shop.stats().global_metrics
    assert metrics.total_completed_records >= before + 2
    assert metrics.total_processed_records == metrics.total_input_records
    assert "records" in shop.metrics()


def test_a_pipeline_that_completes(client: FelderaClient) -> None:
    pipeline = PipelineBuilder(client, "ends", ENDS).create()
    pipeline.start()
    pipeline.wait_for_completion(timeout_s=PATIENCE)
    assert pipeline.is_complete()
    assert list(pipeline.query("SELECT n FROM how_many")) == [{"n": GENERATED}]
    pipeline.stop(force=True)


def test_execute_and_wait(shop: Pipeline) -> None:
    shop.execute("INSERT INTO sale VALUES (80, 'adhoc', 3.25, NULL)", wait=True)
    assert takings(shop, "adhoc") == [(1, 3.25)]
    list(shop.query("INSERT INTO sale (id, shop, amount) VALUES (81, 'adhoc', 1)", wait=True))
    assert takings(shop, "adhoc") == [(2, 4.25)]


def test_support_bundle(shop: Pipeline, tmp_path: Path) -> None:
    bundle = shop.support_bundle(str(tmp_path / "bundle"))
    assert (tmp_path / "bundle.zip").read_bytes() == bundle
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert archive.testzip() is None
        everything = archive.namelist()
    assert any("stats" in name for name in everything), everything
    fewer = shop.support_bundle(stats=False, heap_profile=False, limit=1)
    with zipfile.ZipFile(io.BytesIO(fewer)) as archive:
        assert not any("stats" in name for name in archive.namelist()), archive.namelist()


# Transactions


def test_a_transaction(shop: Pipeline) -> None:
    heard = shop.listen("takings")
    number = shop.start_transaction()
    assert shop.transaction_id() == number
    assert shop.transaction_status() is TransactionStatus.TransactionInProgress
    with pytest.raises(FelderaAPIError) as refusal:
        shop.start_transaction()
    assert refusal.value.error_code == "TransactionInProgress"
    for key in range(90, 93):
        token = shop.input_json("sale", sale(key, "at once"), wait=False)
    assert takings(shop, "at once") == []
    with pytest.raises(ValueError, match="doesn't match"):
        shop.commit_transaction(number + 1)
    shop.commit_transaction(number, timeout_s=PATIENCE, poll_interval_s=0.05)
    assert shop.transaction_id() is None
    assert shop.transaction_status() is TransactionStatus.NoTransaction
    heard.wait_for_token(token, PATIENCE)
    assert takings(shop, "at once") == [(3, 3.0)]
    assert [(row["sales"], row["insert_delete"]) for row in heard.to_dict()] == [(3, 1)]
    with pytest.raises(RuntimeError, match="no transaction in progress"):
        shop.commit_transaction()
