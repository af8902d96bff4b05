"""Single flight: few calls, and never an answer from a call that began before the question."""

import asyncio

import pytest

from api.single_flight import SingleFlight


class Slow:
    """A call that is answered when it is let go."""

    def __init__(self) -> None:
        """Begin with no calls."""
        self.calls: list[tuple[str, ...]] = []
        self.gate = asyncio.Event()

    async def __call__(self, key: str, items: tuple[str, ...]) -> int:
        """Answer with the number of the call."""
        self.calls.append(items)
        number = len(self.calls)
        await self.gate.wait()
        if "bad" in items:
            raise ValueError("bad")
        return number


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_asked_during_a_call_goes_into_the_next() -> None:
    slow = Slow()
    flight = SingleFlight[str, int](slow)
    first = asyncio.create_task(flight.ask("k", "a"))
    await settle()
    others = [asyncio.create_task(flight.ask("k", item)) for item in ("b", "c", "b")]
    await settle()
    assert slow.calls == [("a",)]
    slow.gate.set()
    assert await first == 1
    assert await asyncio.gather(*others) == [2, 2, 2]
    assert slow.calls == [("a",), ("b", "c")]


async def test_keys_do_not_wait_for_each_other() -> None:
    slow = Slow()
    flight = SingleFlight[str, int](slow)
    tasks = [asyncio.create_task(flight.ask(key, "a")) for key in ("k", "l")]
    await settle()
    assert len(slow.calls) == 2
    slow.gate.set()
    await asyncio.gather(*tasks)


async def test_who_leaves_disturbs_nobody() -> None:
    slow = Slow()
    flight = SingleFlight[str, int](slow)
    impatient = asyncio.create_task(flight.ask("k", "a"))
    patient = asyncio.create_task(flight.ask("k", "b"))
    await settle()
    impatient.cancel()
    slow.gate.set()
    assert await patient == 1
    assert await flight.ask("k", "c") == 2


async def test_a_failure_is_of_its_call_only() -> None:
    slow = Slow()
    slow.gate.set()
    flight = SingleFlight[str, int](slow)
    with pytest.raises(ValueError, match="bad"):
        await flight.ask("k", "bad")
    assert await flight.ask("k", "good") == 2


async def test_closing_calls_off_what_is_out() -> None:
    flight = SingleFlight[str, int](Slow())
    task = asyncio.create_task(flight.ask("k", "a"))
    await settle()
    await flight.aclose()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
