"""The text of an API key: whose it is, which one it is, and a secret (contract §6.3).

    apikey: <tenant, 32 hex> <key, 32 hex> <secret, 64 letters and digits>

The first two say where its hash is found; the whole text is hashed. With 381 bits of randomness in the secret
a plain SHA-256 is enough: there is nothing to guess.
"""

import hashlib
import hmac
import string
import uuid
from typing import NamedTuple

PREFIX = "apikey:"
LENGTH = 128
RANDOM_BYTES = 64
_ALPHABET = string.ascii_letters + string.digits
_ALPHANUMERIC = frozenset(_ALPHABET)
_ID = 32


class Credential(NamedTuple):
    """An API key as its bearer gives it."""

    tenant_id: str
    key_id: str
    sha256: str

    def opens(self, sha256: str) -> bool:
        """Tell whether this is the key that was hashed so, in a time that says nothing."""
        return hmac.compare_digest(self.sha256, sha256)


def mint(tenant_id: str, key_id: str, random: bytes) -> str:
    """Write the text of a key, with a secret made from 64 random bytes."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"{RANDOM_BYTES} random bytes are needed")
    number = int.from_bytes(random, "big")
    secret = []
    for _ in range(LENGTH - 2 * _ID):
        number, digit = divmod(number, len(_ALPHABET))
        secret.append(_ALPHABET[digit])
    return PREFIX + uuid.UUID(tenant_id).hex + uuid.UUID(key_id).hex + "".join(secret)


def read(text: str) -> Credential | None:
    """Read the text of a key; None for what cannot be one."""
    body = text.removeprefix(PREFIX)
    if len(body) != LENGTH or len(text) != LENGTH + len(PREFIX) or not _ALPHANUMERIC.issuperset(body):
        return None
    try:
        tenant_id, key_id = uuid.UUID(body[:_ID]), uuid.UUID(body[_ID : 2 * _ID])
    except ValueError:
        return None
    return Credential(str(tenant_id), str(key_id), digest(text))


def digest(text: str) -> str:
    """Hash the text of a key as it is stored, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
