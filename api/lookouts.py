"""Lookouts: one poller of the memo per watched pipeline and process, for all who watch or wait for it.

A look is a `describe`, 2 ms without any worker. Where the revision has moved and somebody follows the
transitions, the journal is asked for what came since the newest one known, by a query; that needs a worker,
and while there is none the next look asks again. A pipeline that nobody watches any more is not looked at.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from api.projection import Projection
from api.reading import Reader, workflow_id
from api.rpc import BufferFull, NoSuchWorkflow, Run, Temporal, Unanswered
from api.tail import Tail
from sluicegate import errors
from sluicegate.errors import Refusal
from sluicegate.lifecycle.journal import Since
from sluicegate.lifecycle.values import Packed

SOON = 0.05
"""Seconds to the next look after a change, since changes come in flocks."""
LATEST = 0.15
"""Seconds to which the pause grows while nothing changes; with the calls a delay stays below 250 ms."""
LOOKS_A_SECOND = 500
"""Looks that a process makes at most; with more pipelines than that allows for, the pauses grow."""
READ_WITHIN = 0.6
"""Seconds for one reading of the journal; a worker that is there answers in a few milliseconds."""
LAST_WORDS_WITHIN = 5.0
"""Seconds for the end of the journal of a pipeline that is gone, whose history a worker has to replay."""


class Lookout:
    """What is known of one pipeline now; `moved` is set when that changes, and replaced by another."""

    def __init__(self, rpc: Temporal, reader: Reader, workflow: str) -> None:
        """Look through the given calls."""
        self._rpc = rpc
        self._reader = reader
        self._workflow = workflow
        self._read_at = 0
        self._wanted, self._served = 0, 0
        self.shown: Projection | None = None
        self.tail = Tail()
        self.gone = False
        self.complete = True
        """Whether all transitions of a pipeline that is gone are in the tail."""
        self.closed = False
        """Whoever watches has to end, although the pipeline is there."""
        self.failure: Exception | None = None
        """What ended the looking though it should go on."""
        self.moved = asyncio.Event()
        self.pause = SOON

    async def look(self) -> None:
        """Look once, and read on where somebody follows. Raises nothing that may pass."""
        try:
            memo = await self._rpc.describe(self._workflow)
            await self._see(memo)
        except NoSuchWorkflow:
            await self._end()
        except (Refusal, Unanswered):
            pass  # Temporal is away or nobody answers; whoever watches is kept until that is over
        if self._behind and not self.gone:
            await self._read_on()

    async def _see(self, memo: dict[str, Any]) -> None:
        if self.shown is not None and memo["id"] != self.shown.id:
            await self._end()
        elif self.shown is None or memo["revision"] > self.shown.revision:
            self.shown = Projection.unpacked(memo) or await self._reader.asked(self._workflow)
            self.pause = SOON
            self.tell()
        else:
            self.pause = min(self.pause * 1.2, LATEST)

    # Transitions

    def demand(self) -> int:
        """Have the journal read by a query that begins after now; `served` tells when it was."""
        self._wanted += 1
        return self._wanted

    def served(self, demand: int) -> bool:
        """Whether the journal has been read since it was demanded."""
        return self._served >= demand

    @property
    def _behind(self) -> bool:
        """Whether there may be transitions that somebody wants and nobody has read."""
        if self.shown is None or self._wanted == 0:
            return False
        return self._served < self._wanted or self._read_at < self.shown.revision

    async def _read_on(self) -> None:
        """Read the transitions since the newest that is known."""
        assert self.shown is not None
        wanted, revision = self._wanted, self.shown.revision
        try:
            events = await self._ask(READ_WITHIN)
            if not self.tail.follows(events):
                # Either more has happened than is kept, or the name has been taken by another pipeline.
                await self._see(await self._rpc.describe(self._workflow))
        except (NoSuchWorkflow, BufferFull, Unanswered, Refusal):
            return  # the next look asks again
        if not self.gone:
            self.tail.extend(events)
            self._served, self._read_at = wanted, revision
            self.tell()

    async def _end(self) -> None:
        """Read what the pipeline did last, where somebody follows it, and tell that it is gone."""
        if self._wanted:
            try:
                events = await self._ask(LAST_WORDS_WITHIN, Run.ENDED)
            except (NoSuchWorkflow, BufferFull, Unanswered):
                events = []
            # Those of another pipeline, which has the name now, do not follow; nor does silence.
            self.complete = self.tail.newest is not None and self.tail.follows(events)
            if self.complete:
                self.tail.extend(events)
        self.gone = True
        self.tell()

    async def _ask(self, within: float, run: Run = Run.OPEN) -> list[dict[str, Any]]:
        """Ask for the transitions since the newest known, newest first. Raises as `Temporal.query`."""
        since = Since(after=self.tail.newest, brief=True)
        answer = await self._rpc.query(self._workflow, "events", since, within=within, run=run)
        return list(Packed.model_validate(answer).json_value)

    def tell(self) -> None:
        """Wake everybody who waits for a change."""
        self.moved.set()
        self.moved = asyncio.Event()


class _Post:
    """A lookout, the task that makes it look, and how many stand on it."""

    def __init__(self, lookout: Lookout, task: asyncio.Task[None]) -> None:
        self.lookout = lookout
        self.task = task
        self.watchers = 0


class Lookouts:
    """All lookouts of this process."""

    def __init__(self, rpc: Temporal, reader: Reader, *, at_most: int, per_tenant: int) -> None:
        """Allow so many watchers, all together and of one tenant."""
        self._rpc = rpc
        self._reader = reader
        self._at_most = at_most
        self._per_tenant = per_tenant
        self._watchers: Counter[str] = Counter()
        self._posts: dict[str, _Post] = {}
        self._closed = False

    @asynccontextmanager
    async def watching(self, tenant_id: str, name: str) -> AsyncIterator[Lookout]:
        """Watch a pipeline for the length of the block. Raises TooManyWatchers, ShuttingDown."""
        self._admit(tenant_id)
        workflow = workflow_id(tenant_id, name)
        post = self._posts.get(workflow)
        if post is None or post.lookout.gone or post.lookout.failure:
            post = self._posts[workflow] = self._man(workflow)
        post.watchers += 1
        self._watchers[tenant_id] += 1
        try:
            yield post.lookout
        finally:
            self._watchers[tenant_id] -= 1
            post.watchers -= 1
            if post.watchers == 0:
                self._leave(workflow, post)

    @property
    def watched(self) -> int:
        """How many pipelines are looked at."""
        return len(self._posts)

    def close(self) -> None:
        """Have everybody who watches end, and let nobody in any more."""
        self._closed = True
        for post in self._posts.values():
            post.lookout.closed = True
            post.lookout.tell()

    async def aclose(self) -> None:
        """Close, and call off what is out."""
        self.close()
        tasks = [post.task for post in self._posts.values()]
        for workflow, post in list(self._posts.items()):
            self._leave(workflow, post)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _admit(self, tenant_id: str) -> None:
        if self._closed:
            raise errors.ShuttingDown
        if self._watchers[tenant_id] >= self._per_tenant:
            raise errors.TooManyWatchers(maximum=self._per_tenant)
        if self._watchers.total() >= self._at_most:
            raise errors.TooManyWatchers(maximum=self._at_most)

    def _man(self, workflow: str) -> _Post:
        lookout = Lookout(self._rpc, self._reader, workflow)
        return _Post(lookout, asyncio.create_task(self._keep_looking(lookout)))

    async def _keep_looking(self, lookout: Lookout) -> None:
        try:
            while not lookout.gone:
                await lookout.look()
                await asyncio.sleep(max(lookout.pause, len(self._posts) / LOOKS_A_SECOND))
        except Exception as failure:  # noqa: BLE001 - it is raised again in whoever watches
            lookout.failure = failure
            lookout.tell()

    def _leave(self, workflow: str, post: _Post) -> None:
        if self._posts.get(workflow) is post:
            del self._posts[workflow]
        post.task.cancel()
