"""The bodies of requests in memory are bounded, all together."""

import pytest

from sluicegate.engine.bodies import Bodies
from sluicegate.engine.errors import EngineError
from tests.engine.conftest import Deploy


def test_there_is_room_again_once_a_request_is_over() -> None:
    bodies = Bodies(most=100)
    with bodies.held() as first:
        first(60)
        with bodies.held() as second:
            second(30)
            with pytest.raises(EngineError) as refused:
                second(30)
        assert (refused.value.status, refused.value.code) == (503, "TooMuchInputWaits")
        first(40)
    with bodies.held() as third:
        third(100)


def test_a_request_that_was_taken_leaves_room(deploy: Deploy) -> None:
    engine = deploy("CREATE TABLE t (n INT, s VARCHAR) WITH ('materialized' = 'true');").start()
    line = f"1,{'x' * 1_000_000}\n"
    for _ in range(8):
        assert engine.push("t", line * 50).status_code == 200
    assert engine.rows("SELECT COUNT(*) AS n FROM t") == [{"n": 400}]
