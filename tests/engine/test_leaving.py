"""The end of the process: clean, whatever still works that nobody waits for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.engine.conftest import Deploy, Engine

DEAF = "SELECT len(list_sort(list_reverse(range(3000000)))) FROM range(100)"
"""Heeds nothing while it sorts one of the lists."""


@pytest.fixture
def busy(deploy: Deploy) -> Iterator[Engine]:
    """An engine with a query in the midst of a sort."""
    engine = deploy("CREATE TABLE t (id INT);").start()
    assert engine.process is not None
    process = psutil.Process(engine.process.pid)

    def spent() -> float:
        return sum(process.cpu_times()[:2])

    before = spent()
    with ThreadPoolExecutor() as pool:
        pool.submit(lambda: engine.http.get("/query", params={"sql": DEAF, "format": "json"}))
        engine.eventually(lambda: spent() > before + 0.3)
        yield engine


def test_a_query_that_does_not_heed_the_end_does_not_spoil_it(busy: Engine) -> None:
    assert busy.process is not None
    busy.process.terminate()
    assert busy.process.wait(30) == 0
    assert "Traceback" not in busy.output()


def test_nor_does_it_spoil_a_suspend(busy: Engine) -> None:
    assert busy.push("t", '{"insert": {"id": 1}}', format="json").status_code == 200
    busy.suspend()
    assert len(busy.http.get("/checkpoints").json()) == 1
    assert busy.process is not None
    busy.process.terminate()
    assert busy.process.wait(30) == 0
    assert "Traceback" not in busy.output()
