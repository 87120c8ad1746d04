"""The coverage page: operations and their differences from Azure, read off the routes; what is tested, read off the tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from local.azureml.app import routes
from local.azureml.call import Route
from local.azureml.description import deviations
from local.azureml.emulator import Emulator, EmulatorSettings
from local.azureml.features import FEATURES
from local.azureml.sdk_usage import operations, used_operations

Used = Mapping[tuple[str, str], set[str]]

MISSING = (
    ("schedules of data imports and batch endpoints", "/schedules/{name}", "schedules of jobs"),
    (
        "compute.begin_attach/start/stop/restart, ComputeInstance and other types",
        "/computes/{name}/…",
        "jobs run on this machine, whatever their cluster is called",
    ),
    ("workspaces.begin_create/update/delete", "PUT, PATCH, DELETE workspace", "the emulator is one workspace"),
    ("datastores of files, Data Lake and OneLake", "PUT /datastores/{name}", "blob datastores"),
    ("data.import_data, data.mount", "/dataImport…", ""),
    ("jobs of type automl, spark, import, data transfer, fine tuning", "/jobs/{id}", ""),
    ("models.package", "POST /models/{name}/versions/{version}/package", ""),
    ("feature_sets.*, feature_stores.*, indexes.*", "", ""),
    ("serverless_endpoints.*, marketplace_subscriptions.*", "", ""),
)
_INTRODUCTION = """\
# What the Azure ML emulator covers

Made by `python -m local.azureml coverage` from the routes and the tests; a test compares this page with both.
Every other route answers 501 and names itself. Routes are relative to the workspace unless they begin with `//`.
*Token* says which one a caller needs: `arm` one for Azure Resource Manager (and an `api-version`, whose value is
ignored), `data` one for Azure ML or Azure Resource Manager, `open` none. *Tested* says whether a test calls the operation
through the unmodified SDK; `REST` marks what no operation of the SDK reaches by itself.

## Operations
"""


def rows() -> dict[str, list[dict[str, str]]]:
    """All of the page: `operations`, `features`, `missing`, `deviations`."""
    with tempfile.TemporaryDirectory(prefix="azureml-coverage-") as folder:
        emulator = Emulator(EmulatorSettings.on_free_ports(Path(folder), "https://127.0.0.1:10000/devstoreaccount1"))
        try:
            used = used_operations()
            found = [_row(route, emulator, used) for route in routes(emulator)]
        finally:
            emulator.close()
    return {
        "operations": found,
        "features": [{"area": area, "feature": feature, "differences": other} for area, feature, other in FEATURES],
        "missing": [{"sdk": sdk, "route": route, "instead": instead} for sdk, route, instead in MISSING],
        "deviations": [{"where": where, "why": why} for where, why in deviations.table()],
    }


def table() -> str:
    """The page, as Markdown."""
    found = rows()
    heads = {
        "operations": ("SDK", "Route", "Token", "Tested", "Differences from Azure"),
        "features": ("Area", "What bodies may ask for", "Differences from Azure"),
        "missing": ("SDK", "Route", "Instead"),
        "deviations": ("Where", "Why"),
    }
    titles = {
        "operations": "",
        "features": "Features",
        "missing": "Not there",
        "deviations": "Answers that deviate from Azure's public REST description",
    }
    lines = [_INTRODUCTION]
    for part, head in heads.items():
        lines += ["", f"## {titles[part]}", ""] if titles[part] else []
        lines += _rows(head, [_cells(row.values()) for row in found[part]])
    return "\n".join(lines) + "\n"


def untested(used: Used, emulator: Emulator) -> list[str]:
    """`group.operation` of every route's operation that no test calls."""
    asked = {operation for route in routes(emulator) for operation in operations(route.sdk)}
    return sorted(".".join(operation) for operation in asked if operation not in used)


def _row(route: Route, emulator: Emulator, used: Used) -> dict[str, str]:
    path = route.path.replace(emulator.workspace_id, "{workspace}").replace(emulator.settings.subscription_id, "{subscription}")
    path = path.replace(emulator.settings.resource_group, "{group}")
    asked = operations(route.sdk)
    missing = [".".join(operation) for operation in asked if operation not in used]
    tested = f"not {', '.join(missing)}" if missing else ("yes" if asked else "REST")
    return {
        "sdk": route.sdk,
        "route": f"`{route.method} {path or '(the workspace)'}`",
        "token": route.auth,
        "tested": tested,
        "differences": route.differences,
    }


def _cells(row: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(cell).replace("|", "\\|").replace("<", "&lt;") for cell in row)


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    ruler = tuple("---" for _ in head)
    return [f"| {' | '.join(row)} |" for row in (head, ruler, *rows)]
