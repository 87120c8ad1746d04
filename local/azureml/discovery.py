"""The workspace's service roots: all of Azure ML's data plane is this emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.azureml.call import Answer, Call, Route

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_SERVICES = (
    "api", "catalog", "experimentation", "gallery", "history", "hyperdrive", "inferencing",
    "modelmanagement", "notebooks", "pipelines", "studio",
)  # fmt: skip


def routes(emulator: Emulator) -> list[Route]:
    def services(_: Call) -> Answer:
        return Answer(dict.fromkeys(_SERVICES, emulator.base_url))

    return [Route("GET", "//discovery", services, "jobs.stream, jobs.list(parent_job_name=)", auth="open")]
