"""Why a step failed: DuckDB's complaint, without advice that a program cannot follow."""

import re

KIND = re.compile(r"^[A-Z][A-Za-z ]* Error: ")
ADVICE = re.compile(r"\.? (Use TRY|You might need|Try |Consider |HINT).*", re.DOTALL)
PLACE = re.compile(r"\n+LINE \d+:.*", re.DOTALL)


def reason(error: Exception) -> str:
    """Return what went wrong in a view or table, in one line."""
    text = PLACE.sub("", str(error))
    text = ADVICE.sub("", KIND.sub("", text)).strip()
    return " ".join(text.split()) or type(error).__name__
