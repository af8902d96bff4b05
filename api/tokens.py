"""JSON Web Tokens: what they claim before, and what they say after their signature is checked.

Only RS256 with a named key is taken: `none`, or a public key used as if it were a secret, is not even tried.
"""

import base64
import binascii
import json
from typing import Any, NamedTuple

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jwt import ClaimsOption, JWTClaimsRegistry

from api.issuers import ALGORITHM

LEEWAY = 60
"""Seconds by which the clocks of an issuer and ours may differ."""
MAX_LENGTH = 16 << 10
_PARTS = 3


class InvalidToken(Exception):
    """It is no token, or none that may be believed; the text is for the log."""


class Token(NamedTuple):
    """A token whose signature nobody has checked yet."""

    text: str
    issuer: str
    key_id: str


def resembles(credential: str) -> bool:
    """Tell whether a credential has the shape of a token."""
    return credential.count(".") == _PARTS - 1


def read(credential: str) -> Token:
    """Read who is said to have issued a token, and with which key. Raises InvalidToken."""
    if len(credential) > MAX_LENGTH or not resembles(credential):
        raise InvalidToken("not a token")
    header, payload = (_object(part) for part in credential.split(".")[:2])
    if header.get("alg") != ALGORITHM:
        raise InvalidToken("not signed as it must be")
    key_id, issuer = header.get("kid"), payload.get("iss")
    if not (isinstance(key_id, str) and key_id and isinstance(issuer, str) and issuer):
        raise InvalidToken("it names no key or no issuer")
    return Token(credential, issuer, key_id)


def verified(token: Token, key: RSAKey, now: float, **wanted: ClaimsOption) -> dict[str, Any]:
    """Give the claims of a token that this key signed, that holds now (seconds since 1970) and that has
    the claims wanted. Raises InvalidToken."""
    options: dict[str, ClaimsOption] = {
        "iss": {"essential": True, "value": token.issuer},
        "sub": {"essential": True},
        "exp": {"essential": True},
        **wanted,
    }
    try:
        claims = jwt.decode(token.text, key, algorithms=[ALGORITHM]).claims
        JWTClaimsRegistry(now=int(now), leeway=LEEWAY, **options).validate(claims)
    except (JoseError, ValueError, TypeError, OverflowError, RecursionError) as problem:
        raise InvalidToken(f"{type(problem).__name__}: {problem}") from problem
    return claims


def audiences(claims: dict[str, Any]) -> tuple[str, ...]:
    """List for whom a verified token is meant."""
    given = claims.get("aud", ())
    return (given,) if isinstance(given, str) else tuple(given)


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError) as problem:
        raise InvalidToken("garbled") from problem
    if not isinstance(value, dict):
        raise InvalidToken("garbled")
    return value
