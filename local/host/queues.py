"""Storage-queue triggers: receive in batches, renew while functions run, delete on success, poison after too many tries.

The order of things is QueueProcessor's of the WebJobs SDK. The storage SDK is synchronous here, so its calls run in threads.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.functions.meta import Datum
from azure.storage.queue import QueueClient, QueueMessage

from local.host.connections import Connections
from local.host.function import HostFunction
from local.host.invoker import Invoker
from local.host.settings import QueueOptions

_log = logging.getLogger("tidegate.host")
T = TypeVar("T")
POISON_SUFFIX = "-poison"


@dataclass(frozen=True)
class Polling:
    """Seconds. `lease` is how long a received message stays hidden before it is renewed again (Azure: 10 minutes)."""

    shortest: float = 0.05
    longest: float = 0.5
    lease: float = 30.0


class Queues:
    """All queue traffic of the host: the listeners, and the queue outputs of functions."""

    def __init__(self, connections: Connections, options: QueueOptions, polling: Polling) -> None:
        self.connections, self.options, self.polling = connections, options, polling
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="storage")
        self._listeners: list[QueueListener] = []

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call of the storage SDK in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def listen(self, function: HostFunction, invoker: Invoker) -> QueueListener:
        listener = QueueListener(self, function, invoker)
        self._listeners.append(listener)
        return listener

    def wake(self) -> None:
        """Look soon: something happened that may have put messages. No function puts any into a poison queue."""
        for listener in self._listeners:
            if not listener.poison:
                listener.wake()

    async def send(self, binding: Mapping[str, Any], datum: Datum) -> None:
        """Deliver a queue output: one message, or one per element of a list; the queue is made when it is missing."""
        client = self.connections.queue(binding.get("connection", ""), binding["queueName"])
        for text in _texts(datum):
            content = encode_text(text, self.options)
            await self.run(lambda content=content: put(client, content))  # type: ignore[misc]
        self.wake()

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        self.connections.close()


class QueueListener:
    """Polls one queue for one function."""

    def __init__(self, queues: Queues, function: HostFunction, invoker: Invoker) -> None:
        connection, name = function.trigger.get("connection", ""), function.trigger["queueName"]
        self._queues, self._function, self._invoker = queues, function, invoker
        self._client = queues.connections.queue(connection, name)
        # A poison queue has none of its own: what fails there stays there, hidden until its lease is over.
        self._poison = None if name.endswith(POISON_SUFFIX) else queues.connections.queue(connection, name + POISON_SUFFIX)
        self._running: set[asyncio.Task[None]] = set()
        self._something = asyncio.Event()
        self._stopping = False
        self.poison = name.endswith(POISON_SUFFIX)
        host_json = queues.options.max_polling_interval.total_seconds()
        self._longest = host_json if self.poison else min(host_json, queues.polling.longest)

    def wake(self) -> None:
        self._something.set()

    async def start(self) -> None:
        """Make the queue when it is missing, so that a sender without a right to create finds it."""
        await self._queues.run(lambda: ensure_queue(self._client))

    async def run(self) -> None:
        """Poll until `stop()`, then settle what runs; a storage error is logged and tried again, slower and slower.

        Who is woken in vain waits longer before the next look: every invocation may wake, and a burst has thousands of them.
        """
        pause, in_vain, woken = self._queues.polling.shortest, 0, False
        while not self._stopping:
            self._something.clear()
            try:
                taken = await self._take()
            except AzureError as error:
                _log.error("queue %s cannot be read: %s: %s", self._client.queue_name, type(error).__name__, error)
                taken = 0
            in_vain = in_vain + 1 if woken and not taken else 0
            pause = self._queues.polling.shortest if taken else min(pause * 2, self._longest)
            if taken and self._room():
                continue
            if woken := await self._woken(pause):
                pause = self._queues.polling.shortest
                if in_vain:
                    await asyncio.sleep(min(pause * 2 ** min(in_vain, 10), self._longest))
        if self._running:
            await asyncio.wait(self._running)

    async def stop(self) -> None:
        """Take no more messages; `run()` ends when those that were taken are settled."""
        self._stopping = True
        self._something.set()

    def _room(self) -> bool:
        return len(self._running) <= self._queues.options.new_batch_threshold

    async def _woken(self, pause: float) -> bool:
        try:
            await asyncio.wait_for(self._something.wait(), pause)
        except TimeoutError:
            return False
        return True

    async def _take(self) -> int:
        """Receive one batch when there is room for it and start its functions; return how many."""
        if not self._room():
            return 0
        size, lease = self._queues.options.batch_size, self._lease
        messages = await self._queues.run(
            lambda: list(self._client.receive_messages(messages_per_page=size, max_messages=size, visibility_timeout=lease))
        )
        for message in messages:
            task = asyncio.create_task(self._process(message))
            self._running.add(task)
            task.add_done_callback(self._ended)
        return len(messages)

    @property
    def _lease(self) -> int:
        return max(1, round(self._queues.polling.lease))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._something.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The message was neither deleted nor released: it comes back when its lease has passed.
            _log.error("a message of %s could not be settled: %s: %s", self._client.queue_name, type(error).__name__, error)

    async def _process(self, message: QueueMessage) -> None:
        limit = self._queues.options.max_dequeue_count
        try:
            text = decode_text(message.content, self._queues.options)
        except ValueError as error:
            _log.error(
                "a message in %s is not base64 text (%s); host.json says messageEncoding base64", self._client.queue_name, error
            )
            return await self._move_to_poison(message)
        if (message.dequeue_count or 0) > limit and self._poison is not None:
            return await self._move_to_poison(message)
        updating = asyncio.Lock()
        renewal = asyncio.create_task(self._renew(message, updating))
        try:
            result = await self._invoker.invoke(self._function, Datum(text, "string"), metadata_of(message))
        finally:
            async with updating:  # a renewal under way changes the pop receipt that settling needs
                renewal.cancel()
        if result.succeeded:
            await self._queues.run(lambda: delete(self._client, message))
        elif self._poison is None:
            _log.error("message %s stays in %s and comes again when its lease is over", message.id, self._client.queue_name)
        elif (message.dequeue_count or 0) >= limit:
            await self._move_to_poison(message)
        else:
            await self._release(message)
        return None

    async def _renew(self, message: QueueMessage, updating: asyncio.Lock) -> None:
        """Keep the message hidden while its function runs; each renewal gives a new pop receipt."""
        while True:
            await asyncio.sleep(self._queues.polling.lease / 3)
            try:
                async with updating:
                    await self._queues.run(lambda: self._hide(message, self._lease))
            except AzureError as error:
                _log.warning("message %s could not be renewed and may run twice: %s", message.id, error)

    def _hide(self, message: QueueMessage, seconds: int) -> None:
        updated = self._client.update_message(message, visibility_timeout=seconds)
        message.pop_receipt = updated.pop_receipt

    async def _release(self, message: QueueMessage) -> None:
        seconds = round(self._queues.options.visibility_timeout / timedelta(seconds=1))
        try:
            await self._queues.run(lambda: self._hide(message, seconds))
        except ResourceNotFoundError:
            _log.warning("message %s was taken by another receiver meanwhile", message.id)

    async def _move_to_poison(self, message: QueueMessage) -> None:
        poison = self._poison
        if poison is None:
            _log.error("message %s stays in %s, where it cannot be read", message.id, self._client.queue_name)
            return
        _log.error("message %s goes to %s after %s tries", message.id, poison.queue_name, message.dequeue_count)
        # First the copy, then the delete: killed in between, the message exists twice, never not at all.
        await self._queues.run(lambda: put(poison, message.content))
        await self._queues.run(lambda: delete(self._client, message))


def ensure_queue(client: QueueClient) -> None:
    try:
        client.create_queue()
    except ResourceExistsError:
        return


def put(client: QueueClient, content: str) -> None:
    try:
        client.send_message(content)
    except ResourceNotFoundError:
        ensure_queue(client)
        client.send_message(content)


def delete(client: QueueClient, message: QueueMessage) -> None:
    try:
        client.delete_message(message)
    except ResourceNotFoundError:
        _log.warning("message %s was taken by another receiver before it could be deleted; it runs again", message.id)


def encode_text(text: str, options: QueueOptions) -> str:
    return base64.b64encode(text.encode()).decode() if options.base64 else text


def decode_text(content: str, options: QueueOptions) -> str:
    """Raises ValueError for what is not base64 of UTF-8 text."""
    if not options.base64:
        return content
    try:
        return base64.b64decode(content, validate=True).decode()
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def metadata_of(message: QueueMessage) -> dict[str, Datum]:
    """Trigger metadata under the names that the host gives it."""
    times = {
        "ExpirationTime": message.expires_on,
        "InsertionTime": message.inserted_on,
        "NextVisibleTime": message.next_visible_on,
    }
    metadata = {name: Datum(json.dumps(value.isoformat()), "json") for name, value in times.items() if value is not None}
    metadata["Id"] = Datum(message.id, "string")
    metadata["DequeueCount"] = Datum(str(message.dequeue_count or 0), "string")
    metadata["PopReceipt"] = Datum(message.pop_receipt, "string")
    return metadata


def _texts(datum: Datum) -> list[str]:
    if datum.type == "bytes":
        return [datum.value.decode()]
    if datum.type != "json":
        return [str(datum.value)]
    value = json.loads(datum.value)
    items = value if isinstance(value, list) else [value]
    return [item if isinstance(item, str) else json.dumps(item) for item in items]
