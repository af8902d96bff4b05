"""What tests of several rooms share: a real Temporal server, and waiting on a condition."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from temporalio.testing import WorkflowEnvironment

from sluicegate import temporal

T = TypeVar("T")
TEMPORAL = str(Path(sys.executable).with_name("temporal"))

TEST_SERVER_CONFIG = {
    **temporal.DEV_SERVER_CONFIG,
    # Low, so that workflows begin new histories all the time.
    "limit.historyCount.suggestContinueAsNew": "40",
}


async def eventually(look: Callable[[], Awaitable[T]], within: float = 20.0) -> T:
    """Wait until a look gives something true, and return it; the last failure shows what it was."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        try:
            found = await look()
            failure: Exception | None = None
        except Exception as error:  # noqa: BLE001 - any failure may pass; the last one is raised below
            failure = error
        if failure is None and found:
            return found
        if asyncio.get_running_loop().time() > deadline:
            raise failure or TimeoutError(f"still {found!r} after {within} s")
        await asyncio.sleep(0.02)


@pytest.fixture(scope="session", name="eventually")
def _eventually() -> Callable[..., Awaitable[object]]:
    """See `eventually`."""
    return eventually


@pytest.fixture(scope="session", autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the Temporal command from writing into the user's home."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(home))
        for name in [name for name in os.environ if name.startswith(("SLUICEGATE_", "TEMPORAL_"))]:
            patch.delenv(name)
        yield home


def dynamic_config(values: dict[str, str]) -> list[str]:
    """Turn dynamic configuration into arguments of the development server."""
    return [part for key, value in values.items() for part in ("--dynamic-config-value", f"{key}={value}")]


@asynccontextmanager
async def serving_temporal() -> AsyncIterator[WorkflowEnvironment]:
    """A real server with our flags that suggests a new history after 40 events."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=TEMPORAL,
        plugins=[temporal.PLUGIN],
        search_attributes=list(temporal.SEARCH_ATTRIBUTES),
        dev_server_log_level="error",
        dev_server_extra_args=dynamic_config(TEST_SERVER_CONFIG),
    ) as environment:
        yield environment


@pytest.fixture(scope="module")
async def temporal_server(private_home: Path) -> AsyncIterator[WorkflowEnvironment]:
    """See `serving_temporal`."""
    async with serving_temporal() as environment:
        yield environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow ones, so that the others run beside them."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Add to a number of cases that is printed at the end of the run."""
    return lambda what, many=1: record_property(f"counted: {what}", many)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many cases the tests with many of them have passed."""
    totals: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name.startswith("counted: "):
                totals[name.removeprefix("counted: ")] += int(value)
    for what, many in sorted(totals.items()):
        terminalreporter.write_line(f"{many} {what}")
