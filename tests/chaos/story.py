"""Tells a story to a whole stack: files change while parts are killed; then everything must come to rest by itself."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path

from local.eventgrid.policy import Chaos
from local.layout import Ports, StackEnvironment
from local.stack import Stack
from tests.chaos import invariants
from tests.chaos.plan import CONTAINERS, Change, Kill, Plan, Rerun
from tests.chaos.world import Processes, World
from tests.command_line import ask

CONFIG = Path(__file__).with_name("tidegate.yaml")
WORST = Chaos(duplicate=0.3, delay=10, reorder=0.2, hold=30, drop=0.2)
"""Seconds of Event Grid's: the stack's are a tenth of them."""
PATIENCE = 240.0
"""Seconds. A busy machine is slow, and slow is not wrong."""
_PAUSE = 1.0
_ORPHANS_END_WITHIN = 5.0


@dataclass
class Report:
    """What a story was and what came of it. A finding is a sentence; without any, nothing was lost and nothing doubled."""

    seeds: list[int] = field(default_factory=list)
    seconds: float = 0.0
    changes: int = 0
    events: int = 0
    lost_events: int = 0
    """By Event Grid, on purpose."""
    copies: int = 0
    """Deliveries of the others."""
    reruns: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    versions: int = 0
    jobs: int = 0
    models: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[str]:
        kinds = {"lost": self.lost, "doubled": self.doubled, "left": self.left, "orphan": self.orphans}
        return [f"{kind}: {finding}" for kind, found in kinds.items() for finding in found]

    def __add__(self, other: Report) -> Report:
        return Report(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def __str__(self) -> str:
        kills = ", ".join(f"{part} {count}" for part, count in sorted(self.kills.items()))
        return (
            f"stories {len(self.seeds)} (seeds {', '.join(map(str, self.seeds))}), {self.seconds:.0f} s: {self.changes} changes, "
            f"{self.events} events ({self.lost_events} lost on purpose, {self.copies} copies of the others), "
            f"{self.reruns} re-runs, {self.kills.total()} kills ({kills}), "
            f"{self.versions} versions, {self.jobs} jobs, {self.models} models\n"
            f"lost {len(self.lost)}, doubled {len(self.doubled)}, left {len(self.left)}, orphans {len(self.orphans)}"
        )


@contextlib.contextmanager
def running_stack(state: Path) -> Iterator[Stack]:
    """Times are short here: Event Grid's waits a tenth, a killed host's messages back after two seconds."""
    environment = StackEnvironment.prepare(state, Ports.free(), CONFIG)
    with Stack(environment, watched=list(CONTAINERS), retry_scale=0.1, lease=2.0) as stack:
        yield stack


def tell(stack: Stack, plan: Plan, *, patience: float = PATIENCE) -> Report:
    """Must be called by the thread that keeps the stack: the parts that it starts again live no longer than their thread."""
    world, processes = World(stack), Processes(stack.environment.state)
    begun, before = time.monotonic(), _counts(world)
    stack.chaos = str(plan.chaos)
    stack.restart("eventgrid")
    with ThreadPoolExecutor(2, thread_name_prefix="people") as people:
        doing = [people.submit(_change, stack, plan.changes), people.submit(_ask, stack, plan.reruns)]
        struck = _strike(stack, plan.kills, processes)
        for one in doing:
            one.result()
    unrest = _come_to_rest(world, stack, patience)
    lost = invariants.lost(world) if unrest else []
    return Report(
        seeds=[plan.seed],
        seconds=time.monotonic() - begun,
        changes=len(plan.changes),
        reruns=len(plan.reruns),
        kills=struck,
        **{name: count - before[name] for name, count in _counts(world).items()},
        lost=lost + invariants.failed(world),
        doubled=invariants.doubled(world),
        left=[finding for finding in unrest if finding not in lost],
        orphans=_orphans(processes),
    )


def _counts(world: World) -> dict[str, int]:
    """What is counted from the first story on."""
    deliveries = world.deliveries()
    return {
        "events": sum(one.matched for one in deliveries),
        "lost_events": sum(one.lost for one in deliveries),
        "copies": sum(one.delivered for one in deliveries),
        "versions": sum(len(world.versions(asset)) for asset in world.assets),
        "jobs": len(world.jobs()),
        "models": len(world.registered_models()),
    }


def orphans_of(state: Path) -> list[str]:
    """After the stack has been stopped: whatever of it still runs."""
    return _orphans(Processes(state))


def _change(stack: Stack, changes: tuple[Change, ...]) -> None:
    service, begun = stack.blobs(), time.monotonic()
    for change in changes:
        time.sleep(max(0.0, begun + change.at - time.monotonic()))
        blob = service.get_blob_client(change.container, change.name)
        if change.what == "put":
            blob.upload_blob(change.content, overwrite=True)
        else:
            blob.delete_blob()


def _ask(stack: Stack, reruns: tuple[Rerun, ...]) -> None:
    begun = time.monotonic()
    for rerun in reruns:
        time.sleep(max(0.0, begun + rerun.at - time.monotonic()))
        ask(stack, "retrain", rerun.model, "--reason", "chaos", "--by", "tests")


def _strike(stack: Stack, kills: tuple[Kill, ...], processes: Processes) -> Counter[str]:
    """Kill and start again; while one part is down, another one may be killed. Returns how often each was struck."""
    deeds = [(kill.at, "kill", kill.part) for kill in kills] + [(kill.at + kill.down, "restart", kill.part) for kill in kills]
    struck: Counter[str] = Counter()
    down: set[str] = set()
    begun = time.monotonic()
    for at, deed, part in sorted(deeds):
        time.sleep(max(0.0, begun + at - time.monotonic()))
        if deed == "restart" and part in down:
            stack.restart(part)
            down.discard(part)
        elif deed == "kill" and part not in down:
            processes.note(stack.pid(part))
            stack.kill(part)
            struck[part] += 1
            down.add(part)
    return struck


def _come_to_rest(world: World, stack: Stack, patience: float) -> list[str]:
    """Wait until nothing is under way, twice in a row: between two looks, one thing can lead to another."""
    deadline, calm = time.monotonic() + patience, 0
    while True:
        stack.check()
        unrest = invariants.unrest(world)
        calm = 0 if unrest else calm + 1
        if calm == 2 or (unrest and time.monotonic() > deadline):
            return unrest
        time.sleep(_PAUSE)


def _orphans(processes: Processes) -> list[str]:
    deadline = time.monotonic() + _ORPHANS_END_WITHIN
    while (found := processes.orphans()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
