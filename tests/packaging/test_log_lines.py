"""What our processes write into their logs."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from sluicegate import log_lines


@pytest.fixture
def configured() -> Iterator[None]:
    """Log as the front end does."""
    before = structlog.get_config()
    log_lines.configure(logging.INFO)
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("configured")
def test_a_failure_shows_where_and_no_value_of_a_variable(capsys: pytest.CaptureFixture[str]) -> None:
    headers = {"authorization": f"Bearer {'k' * 40}"}
    log = structlog.get_logger()
    try:
        log.info("asked", known=headers["unknown"])
    except KeyError:
        log.exception("failed")
    log.debug("not severe enough")
    [line] = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"]) == ("failed", "error")
    assert "KeyError: 'unknown'" in said["exception"]
    assert "k" * 40 not in line
