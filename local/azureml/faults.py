"""Faults on purpose: which request, long-running operation or scoring is struck, and by what. Pure: no clock, no network."""

from __future__ import annotations

import random
import re
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, ClassVar, Literal

LONGEST_SECONDS = 3600.0
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IN_THE_WORKSPACE = "/[!/]*"
Target = Literal["request", "operation", "scoring"]
_STRICT = {"extra": "forbid"}
"""For whoever validates these classes with pydantic (steering.py): a misspelt field is an error. Nothing is imported for it here,
because the scoring router reads rules too and starts faster without."""


@dataclass(frozen=True)
class Subject:
    """What may be struck. `path` is relative to the workspace ("/models/m/versions/1"), or begins with "//" outside of it."""

    path: str
    method: str = ""
    operation: str = ""
    """What a long-running operation does: "online deployment create"."""

    @property
    def kind(self) -> str:
        """The types in the path: "models/versions"."""
        return "/".join(self.path.strip("/").split("/")[::2])

    @property
    def name(self) -> str:
        """The names in the path: "m/1"."""
        return "/".join(self.path.strip("/").split("/")[1::2])


@dataclass(frozen=True)
class Match:
    """Shell patterns (`*` takes slashes too), compared without regard to case. What is not given matches everything."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    method: str = "*"
    path: str = _IN_THE_WORKSPACE
    kind: str = "*"
    name: str = "*"
    operation: str = "*"

    def admits(self, subject: Subject) -> bool:
        return all(
            fnmatchcase(value.lower(), pattern.lower())
            for value, pattern in (
                (subject.path, self.path),
                (subject.method, self.method),
                (subject.operation, self.operation),
                (subject.kind, self.kind),
                (subject.name, self.name),
            )
        )


@dataclass(frozen=True)
class RequestFault:
    """The control plane answers `status` with Azure's error body, after `delay` seconds; without a status it is only slow.

    Removing the rule ends the delay.
    `retry_after` (seconds) becomes a Retry-After header, or retry-after-ms when it is no whole number.
    """

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    status: int | None = None
    code: str = ""
    message: str = "This error was injected into the emulator."
    retry_after: float | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        _check_status_and_delay(self.status, self.delay)
        _check(self.status is not None or self.retry_after is None, "retry_after needs a status")
        _check(0 <= (self.retry_after or 0.0) <= LONGEST_SECONDS, f"retry_after must be between 0 and {LONGEST_SECONDS:.0f}")

    @property
    def error_code(self) -> str:
        """`code`, or the status' name as Azure writes it: 429 is TooManyRequests."""
        return self.code or HTTPStatus(self.status or 500).phrase.replace(" ", "")

    @property
    def headers(self) -> dict[str, str]:
        if self.retry_after is None:
            return {}
        if self.retry_after.is_integer():
            return {"Retry-After": str(int(self.retry_after))}
        return {"retry-after-ms": str(round(self.retry_after * 1000))}


@dataclass(frozen=True)
class OperationFault:
    """A long-running operation stays InProgress until the rule is removed (`hang`), or fails with `code` and `message`."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    hang: bool = False
    code: str = ""
    message: str = "This failure was injected into the emulator."

    def __post_init__(self) -> None:
        _check(self.hang != bool(self.code), "exactly one of hang and code must be given")


@dataclass(frozen=True)
class ScoringFault:
    """The model takes `delay` seconds longer, within the deployment's timeout; with `status` it answers that, unasked."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    status: int | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        _check_status_and_delay(self.status, self.delay)


@dataclass(frozen=True)
class Rule:
    """Exactly one of `request`, `operation` and `scoring` says what is struck and how.

    Of the matching calls the first `after` pass; of the others each is struck with `probability`, by a generator that begins
    with `seed`; `times` strikes are the end of it.
    """

    __pydantic_config__: ClassVar[Mapping[str, str]] = _STRICT

    id: str = field(default_factory=lambda: secrets.token_hex(4))
    match: Match = field(default_factory=Match)
    request: RequestFault | None = None
    operation: OperationFault | None = None
    scoring: ScoringFault | None = None
    after: int = 0
    times: int | None = None
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check(_ID.fullmatch(self.id) is not None, "id must be 1 to 64 letters, digits, '_' or '-'")
        given = [fault for fault in (self.request, self.operation, self.scoring) if fault is not None]
        _check(len(given) == 1, "exactly one of request, operation and scoring must be given")
        _check(self.after >= 0, "after must not be negative")
        _check(self.times is None or self.times > 0, "times must be positive")
        _check(0 < self.probability <= 1, "probability must be above 0 and at most 1")
        _check(self.match.method == "*" or self.request is not None, "match.method is for request rules")
        _check(self.match.operation == "*" or self.operation is not None, "match.operation is for operation rules")

    @property
    def target(self) -> Target:
        if self.request is not None:
            return "request"
        return "operation" if self.operation is not None else "scoring"

    def to_json(self) -> dict[str, Any]:
        """Without what is not given."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def of_scoring(cls, body: Mapping[str, Any]) -> Rule:
        """From `to_json` of a scoring rule; for the router, whose table was written by the control plane."""
        return cls(**{**body, "match": Match(**body["match"]), "scoring": ScoringFault(**body["scoring"])})


class _Tally:
    """How often a rule was reached and struck."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.seen, self.struck = rule, 0, 0
        self._random = random.Random(rule.seed)  # noqa: S311 - chooses victims, guards nothing

    def strikes(self) -> bool:
        rule = self.rule
        self.seen += 1
        if self.seen <= rule.after or (rule.times is not None and self.struck >= rule.times):
            return False
        if rule.probability < 1 and self._random.random() >= rule.probability:
            return False
        self.struck += 1
        return True


class Faults:
    """The rules of now, in memory. Thread-safe. `requests`, `operations`, `scoring` are false when there is nothing to do."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[str, _Tally] = {}
        self.requests = self.operations = self.scoring = False
        self.add(rules)

    def add(self, rules: Iterable[Rule]) -> None:
        """Behind the present ones; a rule takes the place of an older one with its id and counts anew."""
        with self._lock:
            self._settle({**self._tallies, **{rule.id: _Tally(rule) for rule in rules}})

    def remove(self, identity: str | None = None) -> list[Rule]:
        """One rule, or all; the removed ones."""
        with self._lock:
            gone = [tally.rule for tally in self._tallies.values() if identity in (None, tally.rule.id)]
            self._settle({key: tally for key, tally in self._tallies.items() if tally.rule not in gone})
        return gone

    def replace(self, rules: Iterable[Rule]) -> None:
        """Exactly these; a rule that was there already goes on counting."""
        with self._lock:
            old = self._tallies
            fresh = {rule.id: _Tally(rule) for rule in rules}
            self._settle({key: old[key] if key in old and old[key].rule == one.rule else one for key, one in fresh.items()})

    def rules(self, target: Target | None = None) -> list[Rule]:
        with self._lock:
            return [tally.rule for tally in self._tallies.values() if target in (None, tally.rule.target)]

    def has(self, rule: Rule) -> bool:
        tally = self._tallies.get(rule.id)
        return tally is not None and tally.rule is rule

    def struck(self, identity: str) -> int:
        """How often a rule has struck; 0 when there is none."""
        with self._lock:
            tally = self._tallies.get(identity)
            return tally.struck if tally else 0

    def strike(self, target: Target, subject: Subject) -> Rule | None:
        """The first rule that strikes this time. Rules behind it do not notice the call."""
        with self._lock:
            for tally in self._tallies.values():
                if tally.rule.target == target and tally.rule.match.admits(subject) and tally.strikes():
                    return tally.rule
        return None

    def _settle(self, tallies: dict[str, _Tally]) -> None:
        self._tallies = tallies
        targets = {tally.rule.target for tally in tallies.values()}
        self.requests, self.operations, self.scoring = ("request" in targets, "operation" in targets, "scoring" in targets)


def _check_status_and_delay(status: int | None, delay: float) -> None:
    _check(status is not None or delay > 0, "status or delay must be given")
    _check(status is None or (status >= 400 and status in HTTPStatus._value2member_map_), "status must be 4xx or 5xx")
    _check(0 <= delay <= LONGEST_SECONDS, f"delay must be between 0 and {LONGEST_SECONDS:.0f} seconds")


def _check(right: bool, otherwise: str) -> None:
    if not right:
        raise ValueError(otherwise)
