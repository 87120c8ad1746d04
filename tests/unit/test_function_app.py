"""The app as the Functions worker sees it: what it registers, what it costs to import, and what its events do.

Each test is a process of its own, because imports and the registry of functions are global to one. Faked: the ports.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("azure.ai", "azure.mgmt", "mlflow", "pandas", "numpy", "xgboost", "sklearn")


def run(program: str) -> object:
    """Run a program whose last line of output is JSON."""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_the_app_registers_the_functions_that_people_see_in_the_portal() -> None:
    found = run(
        "import json, function_app\n"
        "functions = function_app.app.get_functions()\n"
        "print(json.dumps({f.get_function_name(): json.loads(f.get_function_json())['bindings'][0] for f in functions}))"
    )
    assert isinstance(found, dict)
    assert {name: binding["type"] for name, binding in found.items()} == {
        "register_uploaded_data": "eventGridTrigger",
        "reconcile_data_asset": "queueTrigger",
        "observe_training": "eventGridTrigger",
        "reconcile_model": "queueTrigger",
        "start_due_retraining": "timerTrigger",
        "request_rollout": "eventGridTrigger",
        "advance_rollout": "queueTrigger",
        "command_rollout": "httpTrigger",
        "sweep_active_keys": "timerTrigger",
        "collect_dead_letters": "timerTrigger",
        "keep_poison_data_asset": "queueTrigger",
        "keep_poison_model": "queueTrigger",
        "keep_poison_rollout": "queueTrigger",
        "show_status": "httpTrigger",
    }
    queues = {"tidegate-data-assets", "tidegate-models", "tidegate-rollouts"}
    poison = {f"{queue}-poison" for queue in queues}
    assert {binding["queueName"] for binding in found.values() if binding["type"] == "queueTrigger"} == queues | poison
    assert {name for name, binding in found.items() if binding.get("authLevel", "").lower() == "function"} == {
        "show_status",
        "command_rollout",
    }


def test_importing_the_app_loads_nothing_that_is_only_needed_later() -> None:
    loaded = run("import json, sys, function_app; print(json.dumps(sorted(sys.modules)))")
    assert isinstance(loaded, list)
    later = (
        *HEAVY,
        "azure.storage",
        "azure.identity",
        "azure.core",
        "pydantic",
        "yaml",
        "croniter",
        "httpx",
        "ml_core.rollout.judge",
    )
    assert not [name for name in loaded if name.startswith(later)]


@pytest.mark.parametrize(
    ("function", "event"),
    [
        ("ingestion.register_uploaded_data", "blob_created(story.containers.upload('flights', 'incoming/a.csv'))"),
        ("training.observe_training", "run_status_changed('train-flight-delay-v1', 'Running')"),
        ("deployment.request_rollout", "model_registered('flight-delay', '1')"),
    ],
)
def test_the_path_of_an_event_never_loads_the_machine_learning_sdk(function: str, event: str) -> None:
    name = function.split(".")[1]
    loaded = run(
        "import asyncio, inspect, json, sys, function_app\n"
        "from ml_core import bootstrap\n"
        "from tests.story import Story, blob_created, model_registered, run_status_changed\n"
        "story = Story()\n"
        "bootstrap.use(story.services)\n"
        "functions = {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}\n"
        f"called = functions[{name!r}]({event})\n"
        "if inspect.iscoroutine(called): asyncio.run(called)\n"
        "assert story.ledger.entries, 'the event left no trace'\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    assert isinstance(loaded, list)
    assert not [module for module in loaded if module.startswith(HEAVY)]


def test_the_whole_road_runs_through_the_functions_themselves() -> None:
    status = run(
        "import asyncio, json, azure.functions as func, function_app\n"
        "from ml_core import bootstrap\n"
        "from tests.story import Story, blob_created\n"
        "story = Story()\n"
        "bootstrap.use(story.services)\n"
        "functions = {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}\n"
        "queues = {'data-assets': 'reconcile_data_asset', 'models': 'reconcile_model', 'rollouts': 'advance_rollout'}\n"
        "upload = blob_created(story.containers.upload('flights', 'incoming/a.csv'))\n"
        "asyncio.run(functions['register_uploaded_data'](upload))\n"
        "while not story.idle():\n"
        "    received = story.queue.receive()\n"
        "    if received is None:\n"
        "        story.clock.moment = min(story.queue.messages)[0]\n"
        "    else:\n"
        "        functions[queues[received[0]]](func.QueueMessage(body=received[1].encode()))\n"
        "functions['sweep_active_keys'](None)\n"
        "functions['collect_dead_letters'](None)\n"
        "functions['start_due_retraining'](None)\n"
        "answer = functions['show_status'](func.HttpRequest('GET', '/api/status', body=b''))\n"
        "print(json.dumps(json.loads(answer.get_body())))"
    )
    assert isinstance(status, dict)
    assert status["rollouts"]["flight-delay"]["state"]["outcome"] == "succeeded"
    assert status["models"]["flight-delay"]["state"]["last"]["model_version"] == "1"


def test_no_function_holds_a_decision() -> None:
    for path in (ROOT / "functions").glob("*.py"):
        assert not re.search(r"^\s*(if|for|while|try|match)\b", path.read_text(), re.MULTILINE), path.name
