"""The router's side of the data collector: it sees every body, and listens where scoring scripts send what they collect.

On Azure a sidecar container next to the deployment does it. `azureml.ai.monitoring.Collector` posts to it in plain HTTP, on the
loopback, at /modeldata/log; so it does here, on a port of the deployment's own.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from pathlib import Path

from local.azureml.serving.collection.events import Collected
from local.azureml.serving.collection.plan import CollectionPlan
from local.azureml.serving.collection.spool import Batch, put
from local.azureml.serving.wire import Message, Respond, ServerConnection, render

_ROUTE = b"/modeldata/log"
_TYPE = "azureml.inference."
_ATTRIBUTES = {b"ce-model-version": "modelversion", b"ce-collect-data-type": "collectdatatype", b"ce-agent": "agent"}


class Gathering:
    """What one deployment collects. Lines are kept in memory until `flush()`."""

    def __init__(self, plan: CollectionPlan, port: int, folder: Path, *, storage_url: str) -> None:
        self.plan, self.port = plan, port
        self._folder, self._storage_url = folder, storage_url
        self._request, self._response = plan.collection("request"), plan.collection("response")
        self._random = random.Random()  # noqa: S311 - picks samples, guards nothing
        self._instance = str(uuid.uuid4())
        self._lines: dict[tuple[str, str], list[bytes]] = {}
        self._files: list[Batch] = []
        self._connections: set[ServerConnection] = set()
        self._server: asyncio.Server | None = None
        self._closed = False
        # Kept, because the event loop itself does not keep its tasks.
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        if not self.plan.custom:
            return
        server = await asyncio.get_running_loop().create_server(
            lambda: ServerConnection(self._answer, self._connections), "127.0.0.1", self.port
        )
        if self._closed:  # taken out of the table meanwhile
            server.close()
        self._server = server

    def close(self) -> None:
        """Listen no more, and keep nothing back."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
        self.flush()

    def scored(self, request: Message, path: bytes, answer: Message | Exception, request_id: str, at: float) -> None:
        """Collect the bodies of a request and of its answer. One draw for both, so that they belong together."""
        draw = self._random.random()
        if self._request is not None and draw < self._request.sampling_rate:
            about = {"path": path.decode("latin-1"), "method": request.method.decode("latin-1")}
            self._add(Collected("request", request.content(), at, request_id, about))
        if self._response is not None and draw < self._response.sampling_rate and isinstance(answer, Message):
            self._add(Collected("response", answer.content(), time.time(), request_id))

    def flush(self) -> None:
        """Leave what was collected to the control plane."""
        if not self._lines and not self._files:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        lines, self._lines = self._lines, {}
        files, self._files = self._files, []
        for batch in files:
            put(self._folder, batch)
        for (container, blob), content in lines.items():
            put(self._folder, Batch(container, blob, "append", b"".join(content)))

    def _answer(self, message: Message, respond: Respond) -> None:
        """What a script sends. It has drawn its samples itself, from the file that for_the_script() describes."""
        status = self._take(message) if message.method == b"POST" and message.target == _ROUTE else 404
        respond(render(status, [], b"", keep_alive=message.keep_alive))

    def _take(self, message: Message) -> int:
        kind = message.header(b"ce-type")
        name = kind.removeprefix(_TYPE).lower()
        if not kind.startswith(_TYPE) or name not in {one.name for one in self.plan.custom}:
            return 400
        about = {ours: message.header(theirs) for theirs, ours in _ATTRIBUTES.items() if message.header(theirs)}
        stamp = message.header(b"ce-time")
        at = float(stamp) if stamp.isdecimal() else time.time()
        request_id = message.header(b"ce-x-request-id")[:100]
        self._add(Collected(name, message.content(), at, request_id, about))
        return 200

    def _add(self, collected: Collected) -> None:
        collection = self.plan.collection(collected.collection)
        if collection is None:
            return
        rolled = time.strftime(self.plan.rolling_folder, time.gmtime(collected.at))
        folder = f"{collection.path}/{rolled}"
        beside = f"{folder}/{collected.identity}"
        line, payload = collected.line(self.plan.source, f"{self._storage_url}/{collection.container}/{beside}")
        if payload is not None:
            self._files.append(Batch(collection.container, beside, "whole", payload))
        self._lines.setdefault((collection.container, f"{folder}/{self._instance}.jsonl"), []).append(line)
