"""What the emulator adds to a step's process: a pipeline of three steps, each writing one byte, over the bare process of each.

Measured from the job's start to its end, by the emulator's own record; the submission is not part of it. Each step has the one
before it as input, so that they run one after the other and what each wrote is carried to the next. The bare process is the
same script under the same interpreter (by bash where the step is), started and waited for. A step is forked from a warmed
parent when its command is plainly `python <script>`, and is a new `bash -c` process otherwise (docs/adr/0002): both are
measured, with a real MLflow server, whose answers a step waits for as it does in Azure, and without one.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

from benchmarks.laboratory import emulator, job_seconds
from benchmarks.measure import Comparison, seconds, spread
from local.azureml import jobs
from local.azureml.call import Call
from local.azureml.emulator import Emulator
from local.azureml.execution.environments import default_interpreter

GOAL = 20.0
WHOLE_GOAL = 0.6
ROUNDS = 15
STEPS = ("first", "second", "third")
SCRIPT = "import sys; open(sys.argv[1] + '/byte', 'w').write('x')\n"
COMMANDS = {
    "forked from the warmed parent": "python run.py ${{outputs.out}}",
    "through bash": "python run.py ${{outputs.out}} && true",
}


def run() -> list[Comparison]:
    return [line for mlflow in (True, False) for line in run_with(mlflow)]


def run_with(mlflow: bool) -> list[Comparison]:
    """A line for each way to start a step, where every step has an MLflow run of its own, or none has."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name, emulator(Path(name) / "state", mlflow=mlflow) as running:
        for number, command in enumerate(COMMANDS.values()):
            register(running, f"noop_{number}", command)
            pipeline(running, f"noop_{number}")  # unmeasured: it warms the parent
        tracked = "with an MLflow run each" if mlflow else "without MLflow"
        return [
            line
            for number, how in enumerate(COMMANDS)
            for line in compare(running, f"noop_{number}", f"{how}, {tracked}", Path(name))
        ]


def compare(running: Emulator, component: str, how: str, folder: Path) -> list[Comparison]:
    """Pipeline and bare processes in turns; milliseconds per step that the pipeline takes beyond them, its seconds whole."""
    script = folder / "run.py"
    script.write_text(SCRIPT)
    line = f"{default_interpreter()} {script} {folder}"
    bare = ["bash", "-c", f"{line} && true"] if "bash" in how else line.split()
    whole, theirs = list[float](), list[float]()
    for _ in range(ROUNDS):
        whole.append(pipeline(running, component))
        theirs += [seconds(lambda: subprocess.run(bare, check=True)) for _ in STEPS]
    ours = [taken / len(STEPS) for taken in whole]
    overhead = (statistics.median(ours) - statistics.median(theirs)) * 1000
    shown = {"scale": 1000.0, "unit": "ms", "digits": 1}
    name = f"a step's overhead, {how}"
    bare_one = f"bare process: {spread(theirs, **shown)}"
    return [
        Comparison(name, overhead, GOAL, "at most", "ms", spread(ours, **shown), bare_one),
        Comparison(f"the whole pipeline, {how}", statistics.median(whole), WHOLE_GOAL, "at most", "s", spread(whole), bare_one),
    ]


def pipeline(running: Emulator, component: str) -> float:
    """Seconds from the job's start to its end, as its run document has them."""
    name = f"job-{uuid.uuid4().hex[:8]}"
    component_id = f"{running.workspace_id}/components/{component}/versions/1"
    nodes = {step: _node(component_id, after=STEPS[number - 1] if number else None) for number, step in enumerate(STEPS)}
    settings = {"force_rerun": True}  # otherwise nothing but the first would run
    properties = {"jobType": "Pipeline", "experimentName": "bench", "displayName": name, "jobs": nodes, "settings": settings}
    put = next(route.handler for route in jobs.routes(running) if (route.method, route.path) == ("PUT", "/jobs/{name}"))
    put(Call("PUT", "", {"name": name}, body={"properties": properties}))
    return job_seconds(running, name)


def _node(component_id: str, after: str | None) -> dict[str, Any]:
    value = f"${{{{parent.jobs.{after}.outputs.out}}}}"
    inputs = {"data": {"job_input_type": "literal", "value": value}} if after else {}
    return {"type": "command", "componentId": component_id, "inputs": inputs, "outputs": {}}


def register(running: Emulator, name: str, command: str) -> None:
    """A component with one script, as the SDK would have registered it."""
    container = f"code-{name.replace('_', '-')}"
    running.storage.create_container(container)
    running.storage.write(container, "src/run.py", SCRIPT.encode())
    uri = f"{running.storage.container_url(container)}/src"
    running.store.put("codes", name, "1", {"properties": {"codeUri": uri}})
    running.store.put("environments", "plain", "1", {"properties": {"image": "python"}})
    spec = {
        "type": "command",
        "command": command,
        "inputs": {"data": {"type": "uri_folder", "optional": True}},
        "outputs": {"out": {"type": "uri_folder"}},
        "code": f"azureml:{running.workspace_id}/codes/{name}/versions/1",
        "environment": f"azureml:{running.workspace_id}/environments/plain/versions/1",
    }
    running.store.put("components", name, "1", {"properties": {"componentSpec": spec}})
