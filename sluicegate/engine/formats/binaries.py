"""Bytes in JSON: an array of numbers, or text in one of the encodings that flavors use (contract §9.7)."""

from collections.abc import Callable
from typing import Any

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
"""Of base 58: letters and digits without those that look alike."""
DIGITS = {letter: value for value, letter in enumerate(ALPHABET)}
LONGEST = 4096
"""Characters of base 58 that are read: its cost grows with the square of the length."""


def read(value: Any, encoding: str) -> bytes:
    """Return the bytes that a JSON value stands for; raises ValueError."""
    if encoding == "array":
        return _array(value)
    if not isinstance(value, str):
        raise ValueError("is not a string of bytes")
    return _TEXTS[encoding](value)


def from_base58(text: str) -> bytes:
    """Decode base 58: each leading 1 is a zero byte."""
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters of base 58")
    number = 0
    for letter in text:
        if letter not in DIGITS:
            raise ValueError("is not base 58")
        number = number * 58 + DIGITS[letter]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def to_base58(raw: bytes) -> str:
    """Encode as base 58."""
    number, letters = int.from_bytes(raw, "big"), []
    while number:
        number, digit = divmod(number, 58)
        letters.append(ALPHABET[digit])
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(letters))


def _array(value: Any) -> bytes:
    if not isinstance(value, list) or bool in map(type, value):
        raise ValueError("is not an array of bytes")
    try:
        return bytes(value)
    except (TypeError, ValueError) as error:
        raise ValueError("is not an array of bytes") from error


def _hex(text: str) -> bytes:
    digits = text[2:] if text[:2] in ("0x", "0X", "\\x") else text
    if not digits.isalnum() and digits:
        raise ValueError("is not hexadecimal")
    try:
        return bytes.fromhex(digits)
    except ValueError as error:
        raise ValueError("is not hexadecimal") from error


_TEXTS: dict[str, Callable[[str], bytes]] = {"hex": _hex, "postgres": _hex, "base58": from_base58}
