"""How a client of the contract waits for a control plane that is busy or coming back."""

import asyncio

import httpx

from tests.chaos.connection import UNDECIDED


class Patient(httpx.AsyncHTTPTransport):
    """Asks again, after as long as it is told to wait, where nobody could say in time (`contract §4`)."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it until the answer is one."""
        while True:
            answer = await super().handle_async_request(request)
            if answer.status_code != 503:
                return answer
            await answer.aread()
            if not any(code.encode() in answer.content for code in UNDECIDED):
                return answer
            await asyncio.sleep(float(answer.headers["retry-after"]))
