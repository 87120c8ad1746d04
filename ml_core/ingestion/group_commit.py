"""Many invocations, one write: what arrives while a write is under way is written together by the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Of one event loop. `write` is called in a thread, by one writer at a time, with at most `largest` items.

    A lone item is written at once. Under load, which is when a write has just carried more than one, the next waits for company:
    for as many as that write and those who came during it, since the former were answered and are about to send once more. Fewer
    writes leave more time for events. It waits no longer than they keep coming, with `linger` seconds between two at most, and
    never longer than `longest`.
    """

    def __init__(self, write: Callable[[Sequence[T]], None], *, linger: float, longest: float, largest: int) -> None:
        self._write, self._linger, self._longest, self._largest = write, linger, longest, largest
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._company, self._load_until = 1, 0.0
        self._gathered: asyncio.Future[None] | None = None

    async def commit(self, item: T) -> None:
        """Return when the item is written. An error of its write is raised to everyone whose item was in it."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        elif self._gathered is not None and len(self._waiting) >= self._company and not self._gathered.done():
            self._gathered.set_result(None)
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
                    self._company, self._load_until = len(group) + len(self._waiting), clock() + self._longest
        finally:
            self._writer = None

    async def _gather(self) -> None:
        """Wait while more keep coming, until as many are there as there were before."""
        loop = asyncio.get_running_loop()
        end, seen, self._gathered = loop.time() + self._longest, 0, loop.create_future()
        while seen < len(self._waiting) < self._company and loop.time() < end:
            seen = len(self._waiting)
            await asyncio.wait([self._gathered], timeout=self._linger)
        self._gathered = None

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
