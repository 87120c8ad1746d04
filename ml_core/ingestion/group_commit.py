"""Many invocations, one write: what arrives while a write is under way is written together by the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Of one event loop. `write` is called in a thread, by one writer at a time, with at most `largest` items.

    A lone item is written at once. Under load, which is when a write has just carried more than one, the next waits until no more
    have come for `linger` seconds, and `longest` at most: those who were answered are about to send again, and fewer writes leave
    more time for them.
    """

    def __init__(self, write: Callable[[Sequence[T]], None], *, linger: float, longest: float, largest: int) -> None:
        self._write, self._linger, self._longest, self._largest = write, linger, longest, largest
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._load_until = 0.0

    async def commit(self, item: T) -> None:
        """Return when the item is written. An error of its write is raised to everyone whose item was in it."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        """Write until nobody waits."""
        clock = asyncio.get_running_loop().time
        try:
            while self._waiting:
                if clock() < self._load_until:
                    await self._gather()
                group, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
                await self._write_one(group)
                if len(group) > 1:
                    self._load_until = clock() + self._longest
        finally:
            self._writer = None

    async def _gather(self) -> None:
        """Wait while more keep coming."""
        clock = asyncio.get_running_loop().time
        end, seen = clock() + self._longest, 0
        while seen < len(self._waiting) < self._largest and clock() < end:
            seen = len(self._waiting)
            await asyncio.sleep(self._linger)

    async def _write_one(self, group: Sequence[tuple[T, asyncio.Future[None]]]) -> None:
        failure: Exception | None = None
        try:
            await asyncio.to_thread(self._write, [item for item, _ in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised to everyone in the group
            failure = error
        for _, written in group:
            if written.done():
                continue  # its invocation was given up
            if failure is None:
                written.set_result(None)
            else:
                written.set_exception(failure)
