"""Sends what is due: one loop claims deliveries from the store and starts a bounded number of requests per subscription.

No order is promised, as in Event Grid. A kill at any point leads to a second delivery, never to a lost one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import httpx

from local.eventgrid.dead_letters import DeadLetters
from local.eventgrid.retry import (
    DEAD_LETTER_PATIENCE,
    DEAD_LETTER_RETRY,
    GiveUp,
    Outcome,
    after_failure,
    expired,
    probation,
)
from local.eventgrid.store import DEAD_LETTER, DELIVER, Delivery, Store, Waiting
from local.eventgrid.subscription import Subscription
from local.eventgrid.webhook import deliver
from local.storage.blob_rest import BlobServiceError

_log = logging.getLogger(__name__)
_JITTER = 0.1
_DEAD_LETTERS_PER_BLOB = 100
_DEAD_LETTER_BYTES = 4 * 1024 * 1024

Key = tuple[str, str]


class Dispatcher:
    """`time_scale` multiplies all of Event Grid's waits (0.01: 10 s become 100 ms); the answer's `timeout` stays real seconds."""

    def __init__(
        self,
        store: Store,
        http: httpx.AsyncClient,
        dead_letters: DeadLetters,
        find: Callable[[str, str], Subscription | None],
        *,
        time_scale: float,
        seed: int | None,
        timeout: float,
        concurrency: int = 16,
    ) -> None:
        self._store, self._http, self._dead_letters, self._find = store, http, dead_letters, find
        self._scale, self._timeout, self._concurrency = time_scale, timeout, concurrency
        self._random = random.Random(seed)  # noqa: S311 - jitter is no secret
        self._wake = asyncio.Event()
        self._active: Counter[tuple[Key, str]] = Counter()
        self._failures: Counter[Key] = Counter()
        self._probation_until: dict[Key, float] = {}

    def wake(self) -> None:
        """Something may be due earlier than was known."""
        self._wake.set()

    def forget(self, topic: str, subscription: str) -> None:
        """A subscription was made anew or deleted: its endpoint's past does not count any more."""
        self._failures.pop((topic, subscription), None)
        self._probation_until.pop((topic, subscription), None)

    async def run(self) -> None:
        """Runs until cancelled. An error of our own ends it, and so the process, rather than leaving deliveries leased."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                next_at = self._start_due(tasks)
                try:
                    async with asyncio.timeout(None if next_at is None else max(0.0, next_at - time.time())):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    def _start_due(self, tasks: asyncio.TaskGroup) -> float | None:
        """Start a request for everything that is due and may be sent now; return when to look again at the latest."""
        times: list[float] = []
        for waiting in self._store.waiting():
            at = self._start_waiting(waiting, tasks)
            if at is not None:
                times.append(at)
        return min(times, default=None)

    def _start_waiting(self, waiting: Waiting, tasks: asyncio.TaskGroup) -> float | None:
        now, key = time.time(), (waiting.topic, waiting.subscription)
        due_at = waiting.due_at
        if waiting.phase == DELIVER:
            due_at = max(due_at, self._probation_until.get(key, 0.0))
        if due_at > now:
            return due_at
        subscription = self._find(*key)
        if subscription is None:
            return None
        while self._active[key, waiting.phase] < self._bound(key, waiting.phase):
            most, most_bytes = subscription.batch_events, subscription.batch_bytes
            if waiting.phase == DEAD_LETTER:
                most, most_bytes = _DEAD_LETTERS_PER_BLOB, _DEAD_LETTER_BYTES
            claimed = self._store.claim(waiting, now, most, most_bytes)
            if not claimed:
                break
            self._active[key, waiting.phase] += 1
            tasks.create_task(self._work(subscription, claimed, waiting.phase))
        # The rest is looked at when one of these requests is done: each ends with a wake.
        return None

    def _bound(self, key: Key, phase: str) -> int:
        # One writer for dead letters, so that they share a blob; one probe to an endpoint that has just come off probation.
        return 1 if phase == DEAD_LETTER or probation(self._failures[key]) is not None else self._concurrency

    async def _work(self, subscription: Subscription, claimed: list[Delivery], phase: str) -> None:
        try:
            if phase == DEAD_LETTER:
                await self._dead_letter(subscription, claimed)
            else:
                await self._attempt(subscription, claimed)
        finally:
            self._active[(subscription.topic, subscription.name), phase] -= 1
            self.wake()

    async def _attempt(self, subscription: Subscription, claimed: list[Delivery]) -> None:
        now = time.time()
        alive: list[Delivery] = []
        for delivery in claimed:
            verdict = expired(timedelta(seconds=(now - delivery.published_at) / self._scale), subscription.retry)
            if verdict is None:
                alive.append(delivery)
            else:
                self._give_up(delivery, verdict, now)
        if not alive:
            return
        outcome = await deliver(self._http, subscription, [(delivery, delivery.event) for delivery in alive], self._timeout)
        now = time.time()
        self._note_health(subscription, outcome, now)
        if outcome.delivered:
            self._store.done(alive, "delivered")
            return
        _log.warning("%s/%s: %s %s", subscription.topic, subscription.name, outcome.name, outcome.status or "")
        for delivery in alive:
            verdict_or_retry = after_failure(outcome, delivery.attempts + 1, subscription.retry, self._random.uniform(0, _JITTER))
            self._store.failed(delivery, outcome.name, now, now + self._scaled(verdict_or_retry.after))
            if isinstance(verdict_or_retry, GiveUp):
                self._give_up(delivery, verdict_or_retry, now)

    def _note_health(self, subscription: Subscription, outcome: Outcome, now: float) -> None:
        """A refused event says nothing about the endpoint's health; anything else that failed does."""
        key = (subscription.topic, subscription.name)
        if outcome.delivered:
            self.forget(*key)
        # While the endpoint rests, nothing is sent: what fails now was under way before, and is not another failure after a rest.
        # Otherwise one short outage, met by many requests at once, would have the endpoint rest for an hour.
        elif not outcome.permanent and now >= self._probation_until.get(key, 0.0):
            self._failures[key] += 1
            pause = probation(self._failures[key])
            if pause is not None:
                self._probation_until[key] = now + self._scaled(pause)

    def _give_up(self, delivery: Delivery, verdict: GiveUp, now: float) -> None:
        self._store.given_up(delivery, verdict.reason, now, now + self._scaled(verdict.after))

    async def _dead_letter(self, subscription: Subscription, claimed: list[Delivery]) -> None:
        if subscription.dead_letter is None:
            self._drop(subscription, claimed, "it has no dead-letter destination")
            return
        try:
            await asyncio.to_thread(self._dead_letters.write, subscription, subscription.dead_letter, claimed)
        except BlobServiceError as error:
            now = time.time()
            late = [item for item in claimed if now - item.given_up_at >= self._scaled(DEAD_LETTER_PATIENCE)]
            self._drop(subscription, late, str(error))
            self._store.postpone([item for item in claimed if item not in late], now + self._scaled(DEAD_LETTER_RETRY))
            _log.warning("dead letters of %s/%s cannot be written: %s", subscription.topic, subscription.name, error)
        else:
            self._store.done(claimed, "deadLettered")

    def _drop(self, subscription: Subscription, deliveries: list[Delivery], why: str) -> None:
        for delivery in deliveries:
            _log.error("%s/%s: event dropped (%s): %s", subscription.topic, subscription.name, delivery.reason, why)
        self._store.done(deliveries, "dropped")

    def _scaled(self, wait: timedelta) -> float:
        return wait.total_seconds() * self._scale
