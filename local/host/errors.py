"""The two ways in which the host says no: the app is refused as a whole, or one invocation failed."""

from __future__ import annotations

from collections.abc import Sequence


class AppRefused(Exception):
    """The app cannot be started. `problems` holds one sentence each: where it is, what was found, what to do."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"- {problem}" for problem in problems))
        self.problems = list(problems)


class InvocationFailed(Exception):
    """A function raised, ran out of its time, or gave something that its bindings cannot carry. The text names the cause."""
