"""The coverage page is what the routes and the tests say, and the routes are what the server answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from local.azureml.__main__ import app
from local.azureml.app import Router, routes
from local.azureml.coverage import table, untested
from local.azureml.emulator import Emulator
from local.azureml.sdk_usage import GROUPS, operations, used_operations

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

PAGE = Path(__file__).parents[3] / "docs/reference/emulator-coverage.md"


def test_the_page_is_the_table_that_the_routes_make() -> None:
    assert PAGE.read_text() == table(), "run `make docs`"


def test_every_route_says_what_uses_it(emulator: Emulator) -> None:
    assert [route.path for route in routes(emulator) if not route.sdk] == []


def test_every_route_is_reached_by_its_own_path(emulator: Emulator) -> None:
    table_of_routes = routes(emulator)
    router = Router(emulator, table_of_routes)
    for route in table_of_routes:
        path = route.path[1:] if route.path.startswith("//") else emulator.workspace_id + route.path
        found = router.find(route.method, re.sub(r"\{\w+(:path)?\}", "x", path))
        assert found is not None
        assert found[0] is route


def test_every_operation_that_a_route_names_is_called_by_a_test(emulator: Emulator) -> None:
    assert untested(used_operations(), emulator) == []


def test_routes_name_operations_that_the_sdk_has(emulator: Emulator, ml_client: MLClient) -> None:
    groups = {name for name, value in vars(type(ml_client)).items() if isinstance(value, property)}
    assert groups - {"subscription_id", "resource_group_name", "workspace_name"} == GROUPS
    named = {found for route in routes(emulator) for found in operations(route.sdk)}
    assert [found for found in sorted(named) if not hasattr(type(getattr(ml_client, found[0])), found[1])] == []


@pytest.mark.parametrize(
    ("sdk", "found"),
    [
        ("data.archive/restore(name), automatic versions", [("data", "archive"), ("data", "restore")]),
        (
            "schedules.begin_create_or_update, begin_enable",
            [("schedules", "begin_create_or_update"), ("schedules", "begin_enable")],
        ),
        ("jobs.list(parent_job_name=)", [("jobs", "list")]),
        ("(polling of every begin_*)", []),
        ("azure-mgmt-monitor metrics.list", []),
    ],
)
def test_operations_are_read_off_a_route(sdk: str, found: list[tuple[str, str]]) -> None:
    assert operations(sdk) == found


def test_calls_are_read_off_the_source_of_tests(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("client.jobs.stream(name)\nwait(lambda: self.client.data.get('x'))\ndata.get('y')\n")
    assert used_operations(tmp_path) == {("jobs", "stream"): {"test_it.py"}, ("data", "get"): {"test_it.py"}}


def test_the_command_prints_the_page_and_its_rows() -> None:
    assert CliRunner().invoke(app, ["coverage"]).stdout == table()
    rows = json.loads(CliRunner().invoke(app, ["coverage", "--json"]).stdout)
    assert set(rows) == {"operations", "features", "missing", "deviations"}
    assert {"jobs.get", "data.list()"} <= {row["sdk"] for row in rows["operations"]}
    assert {row["tested"] for row in rows["operations"]} >= {"yes", "REST"}
