"""The parts of the stack: processes that are watched, killed on purpose and started again as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from local.processes import Child, ChildFailed, port_answers, tail


class StackError(RuntimeError):
    """The stack cannot start or go on. The message says what to do."""


@dataclass
class Part:
    """`begin` starts it again (None: it cannot be), `ready` says whether it has come so far that others may use it."""

    child: Child
    begin: Callable[[], Child] | None = None
    ready: Callable[[Child], bool] = lambda _: True
    killed: bool = False
    """Its end was asked for: it is no failure of the stack."""

    def wait(self) -> None:
        """Until it is ready; StackError with the end of its log when that does not happen."""
        try:
            self.child.wait_until(lambda: self.ready(self.child))
        except ChildFailed as error:
            raise StackError(f"{error}\nThe whole log: {self.child.log}") from error


def answers(port: int) -> Callable[[Child], bool]:
    """Ready when something accepts connections on its port."""
    return lambda _: port_answers(port)


def has_said(word: str) -> Callable[[Child], bool]:
    """Ready when the last line of its log ends with this."""
    return lambda child: tail(child.log, 1).endswith(word)


class Parts:
    """By name, in the order in which they were started."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}

    def keep(self, part: Part) -> Part:
        self._parts[part.child.name] = part
        return part

    def __getitem__(self, name: str) -> Part:
        if name not in self._parts:
            raise StackError(f"No part called {name!r} runs here; known are {', '.join(sorted(self._parts)) or 'none'}.")
        return self._parts[name]

    def check(self) -> None:
        """Raise StackError when a part has ended by itself."""
        for part in list(self._parts.values()):
            child = part.child
            code = child.poll()
            if code is not None and not part.killed:
                raise StackError(f"{child.name} ended with exit code {code}. The end of {child.log}:\n{tail(child.log)}")

    def kill(self, name: str) -> None:
        """kill -9 of this process alone; its children must see to it themselves that they end with it."""
        part = self[name]
        part.killed = True
        part.child.kill()

    def restart(self, name: str) -> None:
        """Kill a part if it runs, start it again, and wait until it answers. StackError: it does not, or cannot be."""
        part = self[name]
        if part.begin is None:
            raise StackError(f"{name} is not started again: kill -9 may cost it what it has not written yet.")
        self.kill(name)
        part.child, part.killed = part.begin(), False
        part.wait()

    def stop(self) -> None:
        """The last started first. Safe to call twice."""
        while self._parts:
            self._parts.popitem()[1].child.stop(grace=10.0)
