"""Outputs that become assets: data or model versions, made by the same code as those that a client puts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.azureml.assets import Assets
from local.azureml.call import Call
from local.azureml.data import KIND as DATA
from local.azureml.errors import conflict
from local.azureml.execution.plan import AssetName
from local.azureml.models import Models

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_MODELS = frozenset({"custom_model", "mlflow_model", "triton_model"})


@dataclass(frozen=True)
class NamedOutput:
    """An output that was uploaded to `uri`; `type` as the component declares it."""

    asset: AssetName
    type: str
    uri: str


def register(emulator: Emulator, job: str, outputs: Sequence[NamedOutput]) -> None:
    """Register them all, or none of them; AzureError when a version is there already or a name does not fit.

    Model versions name the job in `jobName`, as the REST description has it. It has no such field for data: there
    `properties.jobName` says it, which is the emulator's own.
    """
    kinds = {"models": Models(emulator), "data": Assets(emulator, DATA)}
    with emulator.store.transaction():
        for output in outputs:
            kind, properties = _version(job, output)
            name = output.asset.name
            version = output.asset.version or str(emulator.store.highest(kind, name) + 1)
            there = emulator.store.get(kind, name, version)
            if there is not None and output.uri in there["properties"].values():
                continue  # by the run that this one reuses: the same version of the same data
            if there is not None:
                raise conflict(f"{kind}/{name}/versions/{version} exists already, and a version never changes.")
            kinds[kind].put_version(Call("PUT", "", {"name": name, "version": version}, body={"properties": properties}))


def _version(job: str, output: NamedOutput) -> tuple[str, dict[str, Any]]:
    if output.type in _MODELS:
        return "models", {"modelType": output.type, "modelUri": output.uri, "jobName": job}
    return "data", {"dataType": output.type, "dataUri": output.uri, "properties": {"jobName": job}}
