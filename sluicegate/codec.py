"""Encrypts what Temporal stores: programs, configurations, answers and errors, with AES-256-GCM.

    binary/encrypted payload:  metadata  encoding, cipher, key-id, nonce      data  ciphertext and tag

The whole of a payload, its metadata included, is what is encrypted; key id and nonce are authenticated along.
The newest key encrypts, every key decrypts, so keys are rotated by adding one in front. What was stored
before encryption was switched on is passed through. Search attributes and ids stay readable: Temporal has to
index them.
"""

import os
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from sluicegate.settings import Settings

ENCODING = b"binary/encrypted"
_CIPHER = b"AES256-GCM"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class KeysError(ValueError):
    """A file of keys cannot be used; the text says which line, never what it says."""


class Undecodable(Exception):
    """A payload cannot be decrypted: its key is not here, or it was changed."""


class Encryption(PayloadCodec):
    """Encrypts under the first key, decrypts under any."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take keys of 32 bytes by id, the newest first."""
        self._newest = next(iter(keys)).encode()
        self._keys = {key_id.encode(): AESGCM(key) for key_id, key in keys.items()}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt what is encrypted. Raises Undecodable."""
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[self._newest].encrypt(
            nonce, payload.SerializeToString(), _associated(self._newest, nonce)
        )
        metadata = {"encoding": ENCODING, "cipher": _CIPHER, "key-id": self._newest, "nonce": nonce}
        return Payload(metadata=metadata, data=sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        metadata = payload.metadata
        if metadata.get("encoding") != ENCODING:
            return payload
        key_id, nonce = metadata.get("key-id", b""), metadata.get("nonce", b"")
        if metadata.get("cipher") != _CIPHER or len(nonce) != _NONCE_BYTES:
            raise Undecodable("A stored payload names a cipher that this release does not know.")
        key = self._keys.get(key_id)
        if key is None:
            known = key_id.decode(errors="replace")
            raise Undecodable(f"A stored payload is encrypted under the key {known!r}, which is not here.")
        try:
            return Payload.FromString(key.decrypt(nonce, payload.data, _associated(key_id, nonce)))
        except InvalidTag:
            raise Undecodable("A stored payload was changed, or another key has its key's id.") from None


def encryption(settings: Settings) -> Encryption | None:
    """Encrypt as settings say; None where they say nothing. Raises KeysError."""
    return Encryption(read_keys(settings.encryption_keys)) if settings.encryption_keys else None


def read_keys(path: Path) -> dict[str, bytes]:
    """Read lines of `<key id> <32 bytes in base64>`, the newest key first; `#` begins a comment.

    Raises KeysError.
    """
    found: dict[str, bytes] = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as problem:
        raise KeysError(f"The keys of SLUICEGATE_ENCRYPTION_KEYS cannot be read: {problem}") from problem
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] in found:
            raise KeysError(f"Line {number} of {path} is not a key id of its own and a key.")
        found[words[0]] = _key(words[1], f"Line {number} of {path}")
    if not found:
        raise KeysError(f"There is no key in {path}.")
    return found


def _key(text: str, where: str) -> bytes:
    try:
        key = b64decode(text, validate=True)
    except ValueError:
        raise KeysError(f"{where} has a key that is not base64.") from None
    if len(key) != _KEY_BYTES:
        raise KeysError(f"{where} has a key of {len(key)} bytes instead of {_KEY_BYTES}.")
    return key


def _associated(key_id: bytes, nonce: bytes) -> bytes:
    return b"\n".join((ENCODING, _CIPHER, key_id, nonce))
