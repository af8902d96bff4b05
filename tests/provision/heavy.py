"""A module that takes more of the memory that a limit counts than a small pipeline may have."""

HELD = bytearray(600_000_000)
