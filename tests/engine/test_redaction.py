"""No value of a secret gets into what the process says."""

import os
import subprocess
import sys

from sluicegate.engine.redaction import Redactor
from sluicegate.protocol import secret_variable

LONG, PART, SHORT = "open sesame, please", "open sesame", "abc"
GIVEN = {secret_variable(value): value for value in (LONG, PART, SHORT)} | {"OTHER": "visible"}


def test_values_are_replaced_wherever_they_stand() -> None:
    redactor = Redactor(GIVEN)
    assert redactor.text(f"<{LONG}> <{PART}> {SHORT} visible") == "<[secret]> <[secret]> abc visible"
    body = {"message": LONG, "details": {"at": [PART, 1, None]}}
    assert redactor.within(body) == {"message": "[secret]", "details": {"at": ["[secret]", 1, None]}}


def test_what_a_process_prints_and_how_it_fails_is_free_of_them() -> None:
    program = (
        "import sys; from sluicegate.engine import redaction; redaction.install();"
        f"print('said', {LONG!r}); from sluicegate.engine.errors import EngineError;"
        f"print(EngineError(400, 'Code', {PART!r}, ['x', {LONG!r}]).body());"
        f"raise ValueError({LONG!r})"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **GIVEN},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "said [secret]\n" in ended.stdout
    assert "'details': ['x', '[secret]']" in ended.stdout
    assert "ValueError: [secret]" in ended.stderr
    assert PART not in ended.stdout
