"""What happens in a story, drawn from its seed before it begins: changes to files, and kills. Pure.

The seed decides what is done and when; how far the stack has come at that moment is the machine's affair.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from local.eventgrid.policy import Chaos

CONTAINERS, MODELS = ("readings", "parcels"), ("leak", "delay")
MARKER = "_SUCCESS"
# Half of all kills strike the app, and most of the rest the emulator, whose jobs die with it.
_PARTS = ("host", "host", "host", "azureml", "azureml", "eventgrid")
# Names that addresses must be encoded for; one that looks encoded already.
_STRANGE = ("März 7", "50% off", "a+b&c=d", "100%25", "q?#;x", "it's", "日本")


@dataclass(frozen=True)
class Change:
    """At `at` seconds, a blob is written (`content`) or removed."""

    at: float
    what: Literal["put", "delete"]
    container: str
    name: str
    content: str = ""


@dataclass(frozen=True)
class Kill:
    """At `at` seconds a part gets SIGKILL, and is started again `down` seconds later."""

    at: float
    part: str
    down: float


@dataclass(frozen=True)
class Rerun:
    """At `at` seconds, a person asks for another training of a model."""

    at: float
    model: str


@dataclass(frozen=True)
class Plan:
    seed: int
    chaos: Chaos
    changes: tuple[Change, ...]
    kills: tuple[Kill, ...]
    reruns: tuple[Rerun, ...]


def plan(seed: int, *, changes: int, kills: int, reruns: int, seconds: float, chaos: Chaos) -> Plan:
    """A story with `seconds` of changes. Of the kills, at least one strikes the host and one the emulator."""
    chance = random.Random(seed)
    times = _moments(chance, changes, seconds)
    parts = ["host", "azureml", *(chance.choice(_PARTS) for _ in range(kills - 2))][:kills]
    chance.shuffle(parts)
    # Half of them strike when the last files are there already, and what follows from them is under way.
    struck = sorted(chance.uniform(0, 2 * seconds) for _ in parts)
    asked = sorted(chance.uniform(0, 2 * seconds) for _ in range(reruns))
    return Plan(
        seed,
        chaos.with_seed(seed),
        tuple(_changes(chance, times)),
        tuple(Kill(at, part, chance.uniform(0, 2.0)) for at, part in zip(struck, parts, strict=True)),
        tuple(Rerun(at, chance.choice(MODELS)) for at in asked),
    )


def _moments(chance: random.Random, count: int, seconds: float) -> list[float]:
    """Bursts: most changes come within half a second of others, with silence between, so that windows open and close."""
    bursts = [chance.uniform(0, seconds) for _ in range(max(1, round(seconds / 3)))]
    return sorted(min(seconds, chance.choice(bursts) + chance.expovariate(2)) for _ in range(count))


def _changes(chance: random.Random, times: list[float]) -> list[Change]:
    there: dict[str, list[str]] = {container: [] for container in CONTAINERS}
    made: list[Change] = []
    for number, at in enumerate(times):
        container = chance.choice(CONTAINERS)
        names = there[container]
        dice = chance.random()
        if container == "parcels" and chance.random() < 0.05:
            made.append(Change(at, "put", container, f"{_folder(chance)}{MARKER}"))
            continue
        if names and dice < 0.2:
            made.append(Change(at, "delete", container, names.pop(chance.randrange(len(names)))))
        elif names and dice < 0.5:
            made.append(Change(at, "put", container, chance.choice(names), _content(chance)))
        else:
            name = _name(chance, number)
            # One that was deleted may come again under its name.
            if name not in names:
                names.append(name)
            made.append(Change(at, "put", container, name, _content(chance)))
    return made


def _name(chance: random.Random, number: int) -> str:
    stem = chance.choice(_STRANGE) if chance.random() < 0.1 else f"{chance.randrange(number + 1):04d}"
    # Some are none of ours: beside the folder, or of another kind.
    folder = "elsewhere/" if chance.random() < 0.05 else _folder(chance)
    return f"{folder}{stem}{'.tmp' if chance.random() < 0.05 else '.csv'}"


def _folder(chance: random.Random) -> str:
    return f"incoming/{chance.choice(('', 'north/', 'south/'))}"


def _content(chance: random.Random) -> str:
    """Mostly rows; sometimes nothing, which is a file that is not written yet."""
    if chance.random() < 0.05:
        return ""
    return "value,leak,late\n" + "".join(f"{chance.random()},0,1\n" for _ in range(chance.randrange(1, 20)))
