"""What Azure would refuse is refused here, with a sentence that says where and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.host.errors import AppRefused
from local.host.host import Host
from local.host.loader import load
from local.host.queues import Polling
from local.host.settings import HostOptions, apply_local_settings, read_host_json
from tests.local.host.bad_apps import BAD_APPS, EVENT, HEAD
from tests.local.host.conftest import APPS, ROOT

HOST_JSON = (APPS / "every_trigger" / "host.json").read_text()


@pytest.fixture
def load_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Load an app from source; this process forgets it afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load_it(source: str, **settings: str) -> Any:
        (tmp_path / "function_app.py").write_text(source)
        sys.modules.pop("function_app", None)
        return load(tmp_path, settings)

    yield load_it
    sys.modules.pop("function_app", None)


@pytest.mark.parametrize("name", BAD_APPS)
def test_a_bad_app_is_refused_with_a_reason(name: str, load_source: Callable[..., Any]) -> None:
    with pytest.raises(AppRefused) as refused:
        load_source(BAD_APPS[name].source)
    assert BAD_APPS[name].says in str(refused.value)
    assert "function_app.py" in str(refused.value)


def test_all_problems_are_told_at_once_each_with_its_function_and_line(load_source: Callable[..., Any]) -> None:
    source = (
        HEAD + EVENT + "def first(evt): pass\n" + EVENT + "def second(event: int): pass\n" + EVENT + "def good(event): pass\n"
    )
    with pytest.raises(AppRefused) as refused:
        load_source(source)
    text = str(refused.value)
    assert len(refused.value.problems) == 3
    assert "function first (function_app.py:4)" in text
    assert "function second (function_app.py:6)" in text
    assert "good" not in text


@pytest.mark.parametrize(
    "signature",
    ["event", "event: func.EventGridEvent", "event: str", "event, context", "event: func.EventGridEvent, context: func.Context"],
)
def test_good_signatures_pass(signature: str, load_source: Callable[..., Any]) -> None:
    assert [
        item.name for item in load_source("from __future__ import annotations\n" + HEAD + EVENT + f"def f({signature}): pass\n")
    ] == ["f"]


def test_a_missing_connection_names_the_function_and_the_settings(load_source: Callable[..., Any], tmp_path: Path) -> None:
    functions = load_source(HEAD + '@app.queue_trigger(arg_name="m", queue_name="q", connection="STORE")\ndef f(m): pass\n')
    with pytest.raises(AppRefused, match=r"function f: binding 'm' uses connection 'STORE'.*STORE__queueServiceUri"):
        Host(functions, HostOptions(), {}, tmp_path, Polling())


def test_a_route_that_this_host_cannot_read_is_refused(load_source: Callable[..., Any], tmp_path: Path) -> None:
    functions = load_source(HEAD + '@app.route(route="x/{id:range(1,2)}")\ndef f(req): return ""\n')
    with pytest.raises(AppRefused, match="route segment"):
        Host(functions, HostOptions(), {}, tmp_path, Polling())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "1.0"}, "\"version\" is '1.0'"),
        ({"extensionBundle": None}, "extensionBundle"),
        ({"functionTimeout": "5 minutes"}, "functionTimeout is '5 minutes'"),
        ({"extensions": {"queues": {"batchSize": 64}}}, "batchSize is 64"),
        ({"extensions": {"queues": {"maxDequeueCount": "5"}}}, "maxDequeueCount is '5'"),
        ({"extensions": {"queues": {"messageEncoding": "utf8"}}}, "messageEncoding is 'utf8'"),
    ],
)
def test_a_wrong_host_json_names_the_value(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    document = {key: value for key, value in (json.loads(HOST_JSON) | change).items() if value is not None}
    (tmp_path / "host.json").write_text(json.dumps(document))
    with pytest.raises(AppRefused) as refused:
        read_host_json(tmp_path)
    assert says in str(refused.value)


def test_host_json_gives_what_it_says_and_the_hosts_defaults(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(HOST_JSON)
    options = read_host_json(tmp_path)
    assert options.queues.max_dequeue_count == 3
    assert (options.queues.batch_size, options.queues.new_batch_threshold, options.route_prefix) == (16, 8, "api")


def test_the_environment_wins_over_local_settings(tmp_path: Path) -> None:
    (tmp_path / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": {"A": "file", "B": "file"}}))
    environment = {"A": "process"}
    assert apply_local_settings(tmp_path, environment) == ["A"]
    assert environment == {"A": "process", "B": "file"}


@pytest.mark.parametrize("document", ["[]", "no json", '{"IsEncrypted": true}', '{"Values": {"A": 1}}'])
def test_wrong_local_settings_are_refused(document: str, tmp_path: Path) -> None:
    (tmp_path / "local.settings.json").write_text(document)
    with pytest.raises(AppRefused, match=r"local\.settings\.json"):
        apply_local_settings(tmp_path, {})


def test_a_refused_app_ends_the_process_with_one_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(HOST_JSON)
    (tmp_path / "function_app.py").write_text(BAD_APPS["parameter without binding"].source)
    command = [sys.executable, "-m", "local.host", "--app", str(tmp_path), "--state", str(tmp_path / "state"), "--port", "0"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "function f (function_app.py:4): parameter 'evt' has no binding; give it the arg_name of one (event)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_check_prints_the_functions_and_starts_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local.host", "--check", "--app", str(APPS / "every_trigger"), "--state", str(tmp_path)]
    environment = dict(os.environ) | {"KEYS_QUEUE": "keys", "WORK_QUEUE": "work"}
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "eventGridTrigger   record_event" in ended.stdout
    assert len(ended.stdout.splitlines()) == 12
