"""Ids that follow from a time and a seed, so that replaying a history gives the same ones."""

import hashlib
import uuid
from datetime import datetime


def uuid7(at: datetime, seed: str) -> str:
    """Make a UUIDv7 (RFC 9562) whose random part is a hash of the seed: equal arguments, equal id."""
    milliseconds = int(at.timestamp() * 1000)
    noise = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:10], "big")
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (noise >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | noise & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def fingerprint(text: str) -> str:
    """Shorten a text to a dozen characters that tell it from others."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
