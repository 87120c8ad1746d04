"""The coverage table: the SDK's operations that the emulator has, and how they differ from Azure; read off the routes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from local.azureml.app import routes
from local.azureml.call import Route
from local.azureml.emulator import Emulator, EmulatorSettings

MISSING = (
    ("schedules of data imports and batch endpoints", "/schedules/{name}", "schedules of jobs"),
    (
        "compute.begin_attach/start/stop/restart, compute.list_nodes/list_sizes/list_usage, ComputeInstance and other types",
        "/computes/{name}/…",
        "jobs run on this machine, whatever their cluster is called",
    ),
    ("workspaces.begin_create/update/delete", "PUT, PATCH, DELETE workspace", "the emulator is one workspace"),
    ("datastores.create_or_update/delete", "PUT, DELETE /datastores/{name}", "two default blob datastores"),
    ("data.import_data, data.mount", "/dataImport…", ""),
    ("jobs of type automl, sweep, spark, import", "/jobs/{id}", ""),
    ("connections.*, feature_sets.*, feature_stores.*, indexes.*", "", ""),
    ("serverless_endpoints.*, marketplace_subscriptions.*", "", ""),
)
_INTRODUCTION = """\
# What the Azure ML emulator covers

Made by `python -m local.azureml coverage`; a test compares this page with the routes.
Every other route answers 501 and names itself. Routes are relative to the workspace unless they begin with `//`.
*Token* says which one a caller needs: `arm` one for Azure Resource Manager (and an `api-version`, whose value is
ignored), `data` one for Azure ML or Azure Resource Manager, `open` none.
"""


def table() -> str:
    """The page, as Markdown."""
    with tempfile.TemporaryDirectory(prefix="azureml-coverage-") as folder:
        emulator = Emulator(_settings(Path(folder)))
        try:
            found = routes(emulator)
            supported = [_row(route, emulator) for route in found]
        finally:
            emulator.close()
    lines = [_INTRODUCTION, *_rows(("SDK", "Route", "Token", "Differences from Azure"), supported)]
    lines += ["", "## Not there", "", *_rows(("SDK", "Route", "Instead"), [_cells(row) for row in MISSING])]
    return "\n".join(lines) + "\n"


def _settings(folder: Path) -> EmulatorSettings:
    return EmulatorSettings(
        state=folder,
        port=5443,
        router_port=5444,
        blob_url="https://127.0.0.1:10000/devstoreaccount1",
        mlflow_url="http://127.0.0.1:5050",
        identity_header="unused",
    )


def _row(route: Route, emulator: Emulator) -> tuple[str, ...]:
    path = route.path.replace(emulator.workspace_id, "{workspace}").replace(emulator.settings.subscription_id, "{subscription}")
    path = path.replace(emulator.settings.resource_group, "{group}")
    return _cells((route.sdk, f"`{route.method} {path or '(the workspace)'}`", route.auth, route.differences))


def _cells(row: Iterable[str]) -> tuple[str, ...]:
    return tuple(cell.replace("|", "\\|").replace("<", "&lt;") for cell in row)


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    ruler = tuple("---" for _ in head)
    return [f"| {' | '.join(row)} |" for row in (head, ruler, *rows)]
