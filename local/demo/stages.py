"""The stages of the demo's story: what is waited for, for how long at most, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class StoryStopped(Exception):
    """Something did not happen in its time, or went wrong. The message names the stage, what was expected and where to look."""


@dataclass
class Stage:
    """One line of the story. Times are seconds of the monotonic clock."""

    title: str
    detail: str = ""
    state: str = "waiting"  # waiting | running | done | failed
    started: float = 0.0
    ended: float = 0.0
    parts: list[tuple[str, str, float | None]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        if self.state == "waiting":
            return 0.0
        return (self.ended or time.monotonic()) - self.started


class Stages:
    """All stages, in order, and the one way to wait."""

    def __init__(self, titles: list[str], *, refresh: Callable[[], None] = lambda: None) -> None:
        self.all = [Stage(title) for title in titles]
        self.refresh = refresh

    def __getitem__(self, title: str) -> Stage:
        return next(stage for stage in self.all if stage.title == title)

    @contextmanager
    def running(self, title: str) -> Iterator[Stage]:
        """Mark a stage as running, then as done; as failed when the block raises."""
        stage = self[title]
        stage.state, stage.started = "running", time.monotonic()
        self.refresh()
        try:
            yield stage
        except BaseException:
            stage.state, stage.ended = "failed", time.monotonic()
            self.refresh()
            raise
        stage.state, stage.ended = "done", time.monotonic()
        self.refresh()

    def wait(self, stage: Stage, happened: Callable[[], bool], *, within: float, look_at: str) -> None:
        """Poll `happened` until it is true; raise StoryStopped after `within` seconds."""
        deadline = time.monotonic() + within
        while not happened():
            if time.monotonic() > deadline:
                seen = stage.detail or "nothing"
                raise StoryStopped(
                    f"'{stage.title}' did not happen within {within:.0f} s. Last seen: {seen}.\nLook at: {look_at}"
                )
            self.refresh()
            time.sleep(0.15)
