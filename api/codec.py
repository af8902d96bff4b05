"""Decrypts and encrypts payloads for an operator's Temporal UI or command line.

It speaks the protocol of Temporal's codec servers. The page of the UI is of another origin, so the browser
asks first: one origin is let in, that of `SLUICEGATE_CODEC_ORIGIN`, and none where there is no setting.
"""

from base64 import b64encode
from typing import Annotated

from fastapi import APIRouter, Header
from pydantic import Base64Bytes, BaseModel
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from api.backend import Behind
from api.errors import PlainText, documented
from api.parse import JsonRoute
from sluicegate.codec import Undecodable
from sluicegate.settings import Settings

_PREFIX = "/v0/codec"
_HEADERS = ("Authorization", "Content-Type", "X-Namespace")

router = APIRouter(prefix=_PREFIX, tags=["Platform"], route_class=JsonRoute)

Namespace = Annotated[str | None, Header(description="The namespace that the payloads are of; not used.")]


class EncodedPayload(BaseModel):
    """A payload of Temporal as JSON: all values in base64."""

    metadata: dict[str, Base64Bytes] = {}
    data: Base64Bytes = b""


class EncodedPayloads(BaseModel):
    """Several payloads."""

    payloads: list[EncodedPayload] = []


@router.post("/decode", response_model=EncodedPayloads, responses=documented(plain=[400, 413]))
async def decode(given: EncodedPayloads, backend: Behind, x_namespace: Namespace = None) -> Response:
    """Decrypt payloads; what is not encrypted comes back as it is."""
    codec = backend.rpc.codec
    try:
        return _answer(await codec.decode(_payloads(given)) if codec else _payloads(given))
    except Undecodable as problem:
        raise PlainText(400, str(problem)) from None


@router.post("/encode", response_model=EncodedPayloads, responses=documented(plain=[400, 413]))
async def encode(given: EncodedPayloads, backend: Behind, x_namespace: Namespace = None) -> Response:
    """Encrypt payloads, where encryption is on."""
    codec: PayloadCodec | None = backend.rpc.codec
    return _answer(await codec.encode(_payloads(given)) if codec else _payloads(given))


def _payloads(given: EncodedPayloads) -> list[Payload]:
    return [Payload(metadata=payload.metadata, data=payload.data) for payload in given.payloads]


def _answer(payloads: list[Payload]) -> Response:
    shown = [
        {
            "metadata": {key: b64encode(value).decode() for key, value in payload.metadata.items()},
            "data": b64encode(payload.data).decode(),
        }
        for payload in payloads
    ]
    return JSONResponse({"payloads": shown}, headers={"Cache-Control": "no-store"})


class CodecOrigin:
    """Lets the pages of one origin call the codec, and nothing else; stands before the guard, since a browser
    asks without a credential whether it may."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Stand before an application."""
        self._app = app
        origins = [settings.codec_origin] if settings.codec_origin else []
        self._open = CORSMiddleware(
            app, allow_origins=origins, allow_methods=["POST"], allow_headers=_HEADERS, max_age=600
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what a browser asks first; add to answers what it wants to see."""
        ours = scope["type"] == "http" and scope["path"].startswith(_PREFIX + "/")
        await (self._open if ours else self._app)(scope, receive, send)
