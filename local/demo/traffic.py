"""Real scoring requests, all along: a steady stream of flights sent to the endpoint, counted by who answered at which weight."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx


class Traffic:
    """Sends one request after the other at `rate` a second until stopped.

    `answered` counts (candidate's weight when the request went out, who answered); `errors` counts by what went wrong.
    """

    def __init__(self, uri: str, key: str, requests: Sequence[dict[str, Any]], *, verify: Any, rate: float = 20.0) -> None:
        self.answered: Counter[tuple[int, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.weight = 0
        self._uri, self._requests, self._pause = uri, requests, 1.0 / rate
        self._http = httpx.Client(verify=verify, timeout=10.0, headers={"Authorization": f"Bearer {key}"})
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    @property
    def sent(self) -> int:
        return sum(self.answered.values()) + sum(self.errors.values())

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(15.0)
        self._http.close()

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            self._send(self._requests[number % len(self._requests)])
            number += 1
            self._stopping.wait(max(0.0, self._pause - (time.monotonic() - started)))

    def _send(self, request: dict[str, Any]) -> None:
        started = time.monotonic()
        weight = self.weight
        try:
            answer = self._http.post(self._uri, json=request)
        except httpx.HTTPError as error:
            self.errors[type(error).__name__] += 1
            return
        self.latencies.append(time.monotonic() - started)
        if answer.status_code == 200:
            self.answered[(weight, answer.headers.get("azureml-model-deployment", "unknown"))] += 1
        else:
            self.errors[f"HTTP {answer.status_code}"] += 1
