"""The coverage page is what the routes say, and the routes are what the server answers."""

from __future__ import annotations

import re
from pathlib import Path

from local.azureml.app import Router, routes
from local.azureml.coverage import table
from local.azureml.emulator import Emulator

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
