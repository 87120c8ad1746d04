"""From a batch deployment and the body of an invocation to the pipeline job that is submitted."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from local.azureml.assets import Assets
from local.azureml.batch_deployments import check_settings
from local.azureml.call import Call
from local.azureml.components import KIND as COMPONENTS
from local.azureml.durations import seconds
from local.azureml.errors import bad_request, not_emulated
from local.azureml.execution.values import DATA_TYPES, root_value, settle_inputs
from local.azureml.store import Body, Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

STEP, SCORE = "batchscoring", "score"
"""Azure ML's names of the one step of a model deployment's job, and of its output."""
_TYPES = {"UriFile": "uri_file", "UriFolder": "uri_folder", "MLTable": "mltable", "CustomModel": "custom_model",
          "MLFlowModel": "mlflow_model", "Literal": "literal"}  # fmt: skip
_DATASTORE_ID = re.compile(
    r"(?:azureml:)?/(?P<group>subscriptions/[^/]+/resource[gG]roups/[^/]+)/providers/[^/]+/"
    r"(?P<path>workspaces/[^/]+/datastores/[^/]+/paths/.*)"
)
_SCORED = ("uri_file", "uri_folder", "mltable")
_OVERRIDES = ("miniBatchSize", "errorThreshold", "outputFileName", "retrySettings")
_DESCRIPTIVE = ("description", "displayName", "tags", "properties")
_KNOWN = frozenset({"inputData", "outputData", "name", "compute", *_DESCRIPTIVE, *_OVERRIDES})
_TRUE = ("true", "1")


def job_of(emulator: Emulator, deployment: Record, asked: Body) -> Body:
    """The properties of the job; `asked` is the `properties` of the invocation's body. 400 for inputs that do not fit."""
    if unknown := sorted(key for key, value in asked.items() if value is not None and key not in _KNOWN):
        raise not_emulated(f"The emulator does not support {', '.join(unknown)} in an invocation.")
    inputs = {key: _input(key, value) for key, value in (asked.get("inputData") or {}).items()}
    outputs = {key: _output(key, value) for key, value in (asked.get("outputData") or {}).items()}
    settings = deployment.body["properties"]
    configuration = settings.get("deploymentConfiguration") or {}
    if configuration.get("deploymentConfigurationType") == "PipelineComponent":
        job = _of_component(emulator, configuration, inputs, outputs, asked)
    else:
        job = _of_model(emulator, _changed(settings, asked), inputs, outputs)
    endpoint, name = deployment.name, deployment.version
    further = asked.get("properties") or {}
    return {
        "jobType": "Pipeline",
        "displayName": asked.get("displayName") or f"{endpoint}-{name}",
        "description": asked.get("description"),
        "experimentName": further.get("experimentName") or endpoint,
        **job,
        "tags": {
            **job["tags"],
            **(asked.get("tags") or {}),
            "azureml.batchrun": "true",
            "azureml.deploymentname": name,
            # Without it the SDK takes the outputs for those of the one step, and downloads them without their name.
            "azureml.jobtype": "azureml.pipelinejob",
        },
        # As Azure's jobs of batch deployments carry them.
        "properties": {
            "azureml.deploymentname": name,
            "azureml.endpointname": endpoint,
            "azureml.pipelineComponent": "pipelinerun",
            "azureml.runLineageType": "batchDeployment",
            "azureml.runsource": "azureml.PipelineRun",
            "runSource": "BatchDeployment",
            "runType": "HTTP",
            **job["properties"],
        },
    }


def _of_component(emulator: Emulator, configuration: Body, inputs: Body, outputs: Body, asked: Body) -> Body:
    """The component's own nodes as the job's, as Azure ML does it."""
    if changes := [key for key in (*_OVERRIDES, "compute") if asked.get(key) is not None]:
        raise bad_request(f"{', '.join(changes)} cannot be given to a deployment of a pipeline component.")
    identity = str(configuration["componentId"]["assetId"])
    spec = emulator.jobs.look_up("components", identity)["componentSpec"]
    values = {key: root_value(key, value, emulator.jobs.look_up) for key, value in inputs.items()}
    settled = settle_inputs(identity.rpartition("/components/")[2], spec.get("inputs") or {}, values)
    declared = spec.get("outputs") or {}
    if unknown := sorted(set(outputs) - set(declared)):
        raise bad_request(f"The component has no output {', '.join(unknown)}; its outputs are {sorted(declared) or 'none'}.")
    settings = configuration.get("settings") or {}
    lenient = settings.get("continue_on_step_failure", settings.get("ComponentDeployment.Settings.continue_on_step_failure"))
    defaults = {key: _literal(value) for key, value in settled.items() if key not in inputs and isinstance(value, str)}
    return {
        "inputs": {**inputs, **defaults},
        "outputs": {key: {"jobOutputType": _kind(value), **outputs.get(key, {})} for key, value in declared.items()},
        "jobs": spec["jobs"],
        "settings": {
            "default_compute": settings.get("default_compute"),
            "continue_on_step_failure": str(lenient).lower() in _TRUE,
            "force_rerun": str(settings.get("force_rerun")).lower() in _TRUE,
        },
        "tags": configuration.get("tags") or {},
        "properties": {"azureml.SourceComponentId": identity},
    }


def _of_model(emulator: Emulator, settings: Body, inputs: Body, outputs: Body) -> Body:
    if len(inputs) != 1:
        raise bad_request(f"A deployment of a model takes one input, of type {', '.join(_SCORED)}; it was given {len(inputs)}.")
    [(name, value)] = inputs.items()
    if value["jobInputType"] not in _SCORED:
        raise bad_request(f"Input '{name}' is of type {value['jobInputType']}; a model is given one of {', '.join(_SCORED)}.")
    if unknown := sorted(set(outputs) - {SCORE}):
        raise bad_request(f"A deployment of a model has no output {', '.join(unknown)}; its output is '{SCORE}'.")
    score = {"jobOutputType": "uri_folder", **outputs.get(SCORE, {})}
    component = _component(emulator, _specification(settings, value["jobInputType"], score["jobOutputType"]))
    node = {
        "type": "parallel",
        "componentId": component,
        "inputs": {"data": {"job_input_type": "literal", "value": f"${{{{parent.inputs.{name}}}}}"}},
        "outputs": {SCORE: {"type": "literal", "value": f"${{{{parent.outputs.{SCORE}}}}}"}},
        "environment_variables": settings.get("environmentVariables") or {},
        "computeId": settings.get("compute"),
    }
    return {
        "inputs": inputs,
        "outputs": {SCORE: score},
        "jobs": {STEP: node},
        # Every invocation scores: no step is taken from an earlier job.
        "settings": {"default_compute": settings.get("compute"), "force_rerun": True},
        "tags": {},
        "properties": {},
    }


def _specification(settings: Body, input_type: str, output_type: str) -> Body:
    code, retries = settings.get("codeConfiguration") or {}, settings["retrySettings"]
    most = seconds(retries["timeout"], "retrySettings.timeout")
    scripted = bool(code.get("codeId"))
    appended = f"${{{{outputs.{SCORE}}}}}" + (f"/{settings['outputFileName']}" if output_type == "uri_folder" else "")
    task = {
        "type": "run_function" if scripted else "model",
        "code": code.get("codeId") if scripted else None,
        "entry_script": code.get("scoringScript") if scripted else None,
        "environment": settings.get("environmentId"),
        "model": settings["model"]["assetId"],
        "append_row_to": appended if settings["outputAction"].lower() == "appendrow" else None,
    }
    return {
        "type": "parallel",
        "inputs": {"data": {"type": input_type}},
        "outputs": {SCORE: {"type": output_type}},
        "input_data": "${{inputs.data}}",
        "mini_batch_size": settings["miniBatchSize"],
        "max_concurrency_per_instance": settings["maxConcurrencyPerInstance"],
        "error_threshold": settings["errorThreshold"],
        "logging_level": settings["loggingLevel"].upper(),
        "resources": {"instance_count": (settings.get("resources") or {}).get("instanceCount") or 1},
        "retry_settings": {"max_retries": retries["maxRetries"], "timeout": int(most)},
        "task": {key: value for key, value in task.items() if value is not None},
    }


def _component(emulator: Emulator, spec: Body) -> str:
    """The id of an anonymous component with this specification; the same one for the same specification."""
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    name, version = "azureml_anonymous", str(uuid.UUID(digest[:32]))
    body = {"properties": {"componentSpec": spec, "isAnonymous": True}}
    Assets(emulator, COMPONENTS).put_version(Call("PUT", "", {"name": name, "version": version}, body=body))
    return f"{emulator.workspace_id}/components/{name}/versions/{version}"


def _changed(settings: Body, asked: Body) -> Body:
    """The deployment's settings with what the invocation asks for instead."""
    changes = {key: asked[key] for key in _OVERRIDES if asked.get(key) is not None}
    if "retrySettings" in changes:
        changes["retrySettings"] = {**settings["retrySettings"], **changes["retrySettings"]}
    instances = (asked.get("compute") or {}).get("instanceCount")
    if instances is not None:
        if type(instances) is not int or instances < 1:
            raise bad_request(f"instanceCount must be a positive integer, not {instances!r}.")
        changes["resources"] = {**(settings.get("resources") or {}), "instanceCount": instances}
    changed = {**settings, **changes}
    check_settings(changed)
    return changed


def _input(name: str, value: Any) -> Body:
    kind = _type_of("Input", name, value, "jobInputType")
    if kind == "literal":
        return _literal(value.get("value"))
    if not isinstance(value.get("uri"), str) or not value["uri"]:
        raise bad_request(f"Input '{name}' has no uri.")
    return {"jobInputType": kind, "uri": _uri(value["uri"]), **({"mode": value["mode"]} if value.get("mode") else {})}


def _output(name: str, value: Any) -> Body:
    kind = _type_of("Output", name, value, "jobOutputType")
    if kind not in ("uri_file", "uri_folder", "mltable"):
        raise bad_request(f"Output '{name}' cannot be of type {kind}.")
    return {"jobOutputType": kind, **({"uri": _uri(str(value["uri"]))} if value.get("uri") else {})}


def _uri(uri: str) -> str:
    """A datastore's id with a path, as Microsoft's examples of invocations have it, in the form of all other URIs."""
    match = _DATASTORE_ID.fullmatch(uri)
    return f"azureml://{match['group']}/{match['path']}" if match else uri


def _type_of(what: str, name: str, value: Any, field: str) -> str:
    asked = str(value.get(field)) if isinstance(value, Mapping) else ""
    known = {key.lower(): kind for key, kind in _TYPES.items()}
    if asked.lower() not in known:
        raise bad_request(f"{what} '{name}' must have a {field} out of {', '.join(_TYPES)}, not {asked or 'none'!r}.")
    return known[asked.lower()]


def _literal(value: Any) -> Body:
    return {"jobInputType": "literal", "value": str(value)}


def _kind(declaration: Mapping[str, Any]) -> str:
    kind = str(declaration.get("type", "uri_folder")).lower()
    return kind if kind in DATA_TYPES else "uri_folder"
