"""What a full store costs: reading and listing among 10,000 data versions and 2,000 jobs, over the same among 10 of each.

Handlers are called as the server calls them, without HTTP, which takes the same time in both. A page has ten entries in both.
Memory is the most that Python allocates during one such call, over what stood before it.
"""

from __future__ import annotations

import statistics
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Comparison, alternate, spread
from local.azureml import data, jobs
from local.azureml.call import Answer, Call
from local.azureml.emulator import Emulator, EmulatorSettings

GOAL = 2.0
RUNS = 200
FULL, FEW = (10_000, 2_000), (10, 10)
PAGE = {"$top": "10"}
CALLS = {
    "get of a version": ("/data/{name}/versions/{version}", {"name": "raw", "version": "7"}, {}),
    "get of a name, with its latest and next version": ("/data/{name}", {"name": "raw"}, {}),
    "first page of versions": ("/data/{name}/versions", {"name": "raw"}, PAGE),
    "first page of names": ("/data", {}, PAGE),
    "first page of jobs": ("/jobs", {}, PAGE),
    "first page of jobs with a tag": ("/jobs", {}, {**PAGE, "tag": "stage=live"}),
    "get of a job": ("/jobs/{name}", {"name": "job-7"}, {}),
}


def run() -> list[Comparison]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        full, few = _filled(Path(folder) / "full", *FULL), _filled(Path(folder) / "few", *FEW)
        try:
            return [line for name in CALLS for line in compare(name, _call(full, name), _call(few, name))]
        finally:
            full.close()
            few.close()


def compare(name: str, full: Callable[[], Answer], few: Callable[[], Answer]) -> list[Comparison]:
    """How many times as long, and how many times as much memory, the call takes in the full store."""
    ours, theirs = alternate(full, few, runs=RUNS)
    times = statistics.median(ours) / statistics.median(theirs)
    taken = [spread(seconds, scale=1000.0, unit="ms", digits=3) for seconds in (ours, theirs)]
    memory = _allocated(full), _allocated(few)
    return [
        Comparison(f"{name}: time", times, GOAL, "at most", "x", taken[0], f"of ten: {taken[1]}"),
        Comparison(
            f"{name}: memory",
            memory[0] / memory[1],
            GOAL,
            "at most",
            "x",
            f"{memory[0] / 1024:.0f} KiB",
            f"of ten: {memory[1] / 1024:.0f} KiB",
        ),
    ]


def _call(emulator: Emulator, name: str) -> Callable[[], Answer]:
    path, names, query = CALLS[name]
    table = [*data.routes(emulator), *jobs.routes(emulator)]
    handler = next(route.handler for route in table if (route.method, route.path) == ("GET", path))
    return lambda: handler(Call("GET", path, names, query))


def _allocated(call: Callable[[], Answer]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _filled(folder: Path, versions: int, many_jobs: int) -> Emulator:
    """An emulator that is not opened: nothing but its store is used. Every tenth asset is archived, as is every tenth job."""
    emulator = Emulator(EmulatorSettings.on_free_ports(folder, "https://127.0.0.1:10000/devstoreaccount1"))
    store, uri = emulator.store, "azureml://datastores/workspaceblobstore/paths/somewhere/"
    with store.transaction():
        for number in range(versions):
            properties = {"dataUri": uri, "dataType": "uri_file", "isArchived": number % 10 == 9, "tags": {"n": str(number)}}
            store.put("data", "raw", str(number), {"properties": properties})
            store.put("data.containers", f"raw-{number}" if number else "raw", "", {"properties": {"dataType": "uri_file"}})
        for number in range(many_jobs):
            submitted = {"jobType": "Pipeline", "jobs": {"step": {"command": "python run.py " * 50}}, "outputs": {}}
            store.put("jobs", f"job-{number}", "", {"properties": submitted, "submitted": submitted})
            run = emulator.jobs.runs.create(
                f"job-{number}", "azureml.PipelineRun", "bench", name="x", displayName="x", description=""
            )
            hidden, tags = number % 10 == 9, {"stage": "live" if number % 5 else "old"}
            store.put("runs", f"job-{number}", "", {**run, "status": "Completed", "hidden": hidden, "tags": tags})
    return emulator
