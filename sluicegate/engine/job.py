"""One request's queries: a thread works, the loop hands on, and nothing goes on for a client that has left.

A piece of the result is made only when the last one was taken. Between pieces a query holds a snapshot and
what its operators have in memory, but no thread, no lock and no place among those that work.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.batch import Rows
from sluicegate.engine.errors import EngineError, query_failed
from sluicegate.engine.limits import OPEN
from sluicegate.engine.pipeline import Pipeline

if TYPE_CHECKING:
    from sluicegate.engine.adhoc import Insert, Select
    from sluicegate.engine.results import Result

T = TypeVar("T")
CATCHING_UP = 1
"""Seconds for which a query waits at most until what was acknowledged before it is written."""
FORMATS = ("text", "json", "parquet", "arrow_ipc", "hash")


def check_format(name: str) -> None:
    """Refuse a format that there is not."""
    if name not in FORMATS:
        raise query_failed(f"the format '{name}' is not one of {', '.join(FORMATS)}")


class Job:
    """The statements of one request; all of them together have the time of one query."""

    def __init__(self, pipeline: Pipeline, sql: str, form: str) -> None:
        check_format(form)
        if len(pipeline.queries) >= OPEN:
            raise query_failed(f"{OPEN} queries are open; try again when one has ended")
        self._pipeline = pipeline
        self._sql = sql
        self._form = form
        self._limits = pipeline.limits
        self._cursor = pipeline.cursor()
        self._reason = ""
        self._working = False
        self._guard = threading.Lock()
        """Of `_working` and `_reason`: whoever comes second lets go."""
        self._made: Generator[bytes, None, None] | None = None
        self._deadline = asyncio.get_running_loop().time() + self._limits.seconds
        pipeline.queries.add(self)

    def interrupt(self, reason: str = "the pipeline is about to end") -> None:
        """Stop it, whatever it is doing, and tell its client why."""
        with self._guard:
            self._reason = self._reason or reason
            if self._working:
                self._cursor.interrupt()
            else:
                self._let_go()

    def _let_go(self) -> None:
        """Let go of the snapshot, which no checkpoint passes by; a reader of Arrow has it, too."""
        if self._made is not None:
            self._made.close()
        self._cursor.close()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Run all statements and yield what the last one answers; raises EngineError."""
        try:
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self._pipeline.queries.discard(self)
            self.interrupt("the client has gone")

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        from sluicegate.engine.adhoc import Insert, Select

        await self._pipeline.steps.catch_up(CATCHING_UP)
        statements = await self._work(self._prepare)
        *before, last = statements
        for statement in before:
            if isinstance(statement, Insert):
                await self._insert(statement)
            else:
                await self._drain(statement)
        if isinstance(last, Insert):
            count = await self._insert(last)
            last = Select(f'SELECT CAST({count} AS BIGINT) AS "count"')
        select = last
        made = self._made = self._written(select)
        while piece := await self._work(lambda: next(made, b"")):
            yield piece

    def _prepare(self) -> "list[Select | Insert]":
        from sluicegate.engine import adhoc
        from sluicegate.engine.reach import check

        statements = adhoc.parse(self._sql, self._pipeline.plan)
        self._cursor.execute(f"SET operator_memory_limit = '{self._limits.memory_mb}MB'")
        for statement in statements:
            check(self._cursor, statement.sql, adhoc.readable(self._pipeline.plan))
        return statements

    def _result(self, sql: str) -> "Result":
        from sluicegate.engine.results import Result

        return Result.of(self._cursor, sql, self._limits.rows)

    def _written(self, select: "Select") -> Generator[bytes, None, None]:
        from sluicegate.engine import results

        result = self._result(select.sql)
        if self._form in ("parquet", "arrow_ipc"):
            from sluicegate.engine import arrowresults

            write = arrowresults.as_parquet if self._form == "parquet" else arrowresults.as_stream
        else:
            lines = {"text": results.as_table, "json": results.as_lines, "hash": results.as_hash}
            write = lines[self._form]
        yield from write(result)

    async def _drain(self, select: "Select") -> None:
        from sluicegate.engine.results import drained

        await self._work(lambda: list(drained(self._result(select.sql))))

    async def _insert(self, insert: "Insert") -> int:
        """Compute the rows on our own cursor, and only then take the turn of a write."""
        from sluicegate.engine.arrowresults import collected

        rows = await self._work(lambda: collected(self._result(insert.sql), insert.columns))
        try:
            taken = await self._pipeline.steps.put(Arrival(insert.table, Rows(rows), size=rows.nbytes))
        except Exception as error:
            raise self._explained(error) from error
        return taken.records

    async def _work(self, work: Callable[[], T]) -> T:
        """Do a piece of work in a thread, within the time that is left; then the thread is left alone."""
        if self._reason:
            raise query_failed(self._reason)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._pipeline.workers.run(lambda: self._at_work(work))
        except TimeoutError:
            self.interrupt(f"the query took longer than {self._limits.seconds:g} seconds")
            raise query_failed(self._reason) from None
        except Exception as error:
            raise self._explained(error) from error

    def _at_work(self, work: Callable[[], T]) -> T:
        with self._guard:
            if self._reason:
                raise query_failed(self._reason)
            self._working = True
        try:
            return work()
        finally:
            with self._guard:
                self._working = False
                if self._reason:
                    self._let_go()

    def _explained(self, error: Exception) -> EngineError:
        from sluicegate.engine.adhoc import explain

        return query_failed(self._reason) if self._reason else explain(error)
