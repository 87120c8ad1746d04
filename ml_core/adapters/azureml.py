"""The Azure ML workspace through azure-ai-ml. The SDK costs seconds to import: it is imported by the first call, never before."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_core.adapters.azureml_states import deployment_state, job_error, model_version, reason_in_log, word
from ml_core.adapters.failures import told_as
from ml_core.adapters.model_files import read_file
from ml_core.adapters.scoring import Access, Scoring
from ml_core.errors import Conflict, PermanentError, TemporaryError
from ml_core.naming import is_model_version
from ml_core.ports import DeploymentSpec, DeploymentState, EndpointState, JobState, ModelVersion, Question, Reply, TrainingJob
from ml_core.settings import Settings

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

# The SDK would fetch MLTable's JSON schema from the internet to check a file that we wrote ourselves, and wait for a network
# that a locked-down function app does not have. An address that cannot be parsed ends that at once, and the check is skipped.
_NO_SCHEMA = "http://["
_STANDARD_OUTPUT = threading.Lock()
# A pipeline's input cannot be empty: the SDK drops it then.
_UNKNOWN = "unknown"
# The endpoint's tag that says which step has set its traffic last: a fencing token.
_STEP = "tidegate.step"
_METADATA_URL, _CLOUD, _PUBLIC = "ARM_CLOUD_METADATA_URL", "AZUREML_CURRENT_CLOUD", "//management.azure.com"
# Of a failed deployment's log. The server starts again after a failure and says much while it does: the reason is further up.
_LOG_LINES = 300


class AzureMLWorkspace:
    """Implements `Workspace`. `root` is the app's folder: pipelines and components are found from there."""

    def __init__(self, settings: Settings, root: Path, credential: Callable[[], TokenCredential]) -> None:
        self._settings, self._root, self._credential = settings, root, credential

    @cached_property
    def _client(self) -> MLClient:
        from azure.ai.ml import MLClient

        # The SDK's million objects live as long as the process. Left to the garbage collector they would be looked through again
        # and again, which in a burst of events takes more of the processor than the events do.
        gc.collect()
        gc.freeze()
        where = self._settings
        client = MLClient(self._credential(), where.subscription_id, where.resource_group, where.workspace, show_progress=False)
        # A cloud of another address is read from there. When that is silent, the SDK takes the public cloud, and for good.
        if _METADATA_URL in os.environ and os.environ.get(_CLOUD) == "AzureCloud" and _PUBLIC not in where.resource_manager:
            del os.environ[_CLOUD]
            raise TemporaryError(f"{os.environ[_METADATA_URL]} does not say which cloud this is; it is tried again.")
        return client

    # ---- data versions ------------------------------------------------------------------------------------------------

    def register_data_version(self, name: str, version: str, files: Mapping[str, str], tags: Mapping[str, str]) -> None:
        with told_as(f"register version {version} of the data asset {name}"):
            if self._found(lambda: self._client.data.get(name, version)) is not None:
                return
            with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
                for file, text in files.items():
                    Path(folder, file).write_text(text, encoding="utf-8")
                self._create_data(name, version, folder, tags)

    def _create_data(self, name: str, version: str, folder: str, tags: Mapping[str, str]) -> None:
        from azure.ai.ml.constants import AssetTypes
        from azure.ai.ml.entities import Data

        table = Data(
            name=name,
            version=version,
            type=AssetTypes.MLTABLE,
            path=folder,
            tags=dict(tags),
            skip_validation=True,
            mltable_schema_url=_NO_SCHEMA,
        )
        self._client.data.create_or_update(table)

    # ---- training -----------------------------------------------------------------------------------------------------

    def submit_training(self, job: TrainingJob) -> None:
        from azure.ai.ml import load_job

        with told_as(f"submit the job {job.name}"):
            if self._found(lambda: self._client.jobs.get(job.name)) is not None:
                return
            values: dict[str, Any] = {"data_asset": job.data_asset, "data_version": job.data_version, "model_name": job.model}
            values |= {"cause": job.cause, "correlation_id": job.correlation_id or _UNKNOWN}
            values |= {"git_commit": self._settings.git_commit, **job.inputs}
            # The only account that the pipeline may read blobs of, whatever a manifest names.
            values["data_account_url"] = self._settings.data_blob_url
            # Overrides of the YAML, not attributes of the loaded job: the SDK turns only the former into job inputs.
            changes = [{f"inputs.{name}": value} for name, value in values.items()]
            changes += [{"inputs.data.path": f"azureml:{job.data_asset}:{job.data_version}"}, {"name": job.name}]
            pipeline: Any = load_job(self._root / job.pipeline, params_override=changes)
            pipeline.display_name, pipeline.experiment_name = job.name, f"tidegate-{job.model}"
            pipeline.tags = {
                **(pipeline.tags or {}),
                "tidegate.model": job.model,
                "tidegate.data_asset": job.data_asset,
                "tidegate.data_version": job.data_version,
                "tidegate.cause": job.cause,
                "tidegate.correlation_id": job.correlation_id or _UNKNOWN,
            }
            self._client.jobs.create_or_update(pipeline)

    def job(self, name: str) -> JobState | None:
        with told_as(f"read the job {name}"):
            job = self._found(lambda: self._client.jobs.get(name))
            if job is None:
                return None
            status = word(job.status)
            return JobState(name, status, job_error(self._told_at_the_end(name), job) if status == "Failed" else "")

    def _told_at_the_end(self, name: str) -> str:
        """What `stream` says of a job that has ended: only there does the SDK tell a job's error. It returns at once then."""
        from azure.ai.ml.exceptions import JobException

        try:
            # The stream prints, too. Standard output belongs to the process: of two threads that take it and give it back at
            # the same time, one would give back the other's.
            with _STANDARD_OUTPUT, contextlib.redirect_stdout(io.StringIO()):
                self._client.jobs.stream(name)
        except JobException as error:
            return str(error)
        return ""

    # ---- models -------------------------------------------------------------------------------------------------------

    def model(self, name: str, version: str) -> ModelVersion | None:
        with told_as(f"read the model {name}:{version}"):
            return model_version(self._found(lambda: self._client.models.get(name, version)))

    def model_of_job(self, name: str, job: str) -> ModelVersion | None:
        with told_as(f"list the versions of the model {name}"):
            listed = self._found(lambda: list(self._client.models.list(name))) or []
            found = [version for model in listed if (version := model_version(model)) and version.tags.get("job") == job]
        # As numbers: as text, 9 would be newer than 10. What is no number was not registered by the job.
        return max((one for one in found if is_model_version(one.version)), key=lambda one: int(one.version), default=None)

    def model_file(self, name: str, version: str, path: str, *, at_most: int) -> bytes | None:
        with told_as(f"read {path} of the model {name}:{version}"):
            found = self._found(lambda: self._client.models.get(name, version))
            if found is None:
                raise PermanentError(f"Could not read {path} of the model {name}:{version}: there is no such model.")
            return read_file(
                f"{name}:{version}",
                str(found.path),
                path,
                at_most=at_most,
                datastore=self._client.datastores.get,
                credential=self._credential(),
                own_account=self._settings.data_blob_url,
            )

    # ---- endpoints ----------------------------------------------------------------------------------------------------
    # The SDK's pollers are dropped: their threads end by themselves, and what became of an operation is read at the next tick.

    def endpoint(self, name: str) -> EndpointState | None:
        with told_as(f"read the endpoint {name}"):
            endpoint = self._found(lambda: self._client.online_endpoints.get(name))
            if endpoint is None:
                return None
            deployments = [self._with_logs(name, deployment_state(found)) for found in self._client.online_deployments.list(name)]
            traffic = {slot: int(weight) for slot, weight in (endpoint.traffic or {}).items()}
            mirror = {slot: int(weight) for slot, weight in (endpoint.mirror_traffic or {}).items()}
            slots = {state.name: state for state in deployments}
            return EndpointState(name, word(endpoint.provisioning_state), traffic, slots, mirror)

    def _with_logs(self, endpoint: str, deployment: DeploymentState) -> DeploymentState:
        """Why a deployment failed: Azure's answer does not say, and the end of its container's log usually does."""
        from azure.core.exceptions import AzureError

        if deployment.provisioning_state.lower() != "failed":
            return deployment
        try:
            log = str(self._client.online_deployments.get_logs(deployment.name, endpoint, lines=_LOG_LINES))
        except AzureError as error:
            log = f"its log cannot be read: {error}"
        return replace(deployment, error=reason_in_log(log))

    def create_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        from azure.ai.ml.entities import ManagedOnlineEndpoint

        with told_as(f"create the endpoint {name}"):
            # A whole endpoint is put: one that is there already would be left without traffic. Who asks may come minutes late.
            if self._found(lambda: self._client.online_endpoints.get(name)) is not None:
                return
            self._client.online_endpoints.begin_create_or_update(
                ManagedOnlineEndpoint(name=name, auth_mode="key", tags=dict(tags))
            )

    def create_deployment(self, spec: DeploymentSpec) -> None:
        from azure.ai.ml.entities import CodeConfiguration, Environment, ManagedOnlineDeployment

        components = self._root / "components"
        with told_as(f"create the deployment {spec.slot} of {spec.model}:{spec.version} at {spec.endpoint}"):
            # A slot that is taken may serve by now: who asks may come minutes late.
            if self._found(lambda: self._client.online_deployments.get(spec.slot, spec.endpoint)) is not None:
                return
            deployment = ManagedOnlineDeployment(
                name=spec.slot,
                endpoint_name=spec.endpoint,
                model=f"azureml:{spec.model}:{spec.version}",
                environment=Environment(image=spec.image, conda_file=components / "environment" / "serve.conda.yaml"),
                code_configuration=CodeConfiguration(code=str(components / "score"), scoring_script="score.py"),
                instance_type=spec.instance_type,
                instance_count=spec.instance_count,
                tags={
                    "tidegate.model": f"{spec.model}:{spec.version}",
                    "tidegate.correlation_id": spec.correlation_id or _UNKNOWN,
                },
            )
            self._client.online_deployments.begin_create_or_update(deployment)

    def set_traffic(
        self,
        endpoint: str,
        weights: Mapping[str, int],
        tags: Mapping[str, str] | None = None,
        *,
        mirror: Mapping[str, int] | None = None,
        step: int = 0,
    ) -> None:
        with told_as(f"set the traffic of {endpoint} to {dict(weights)}"):
            # Azure takes a whole endpoint: what is not in the update (tags, identity) would be lost.
            whole = self._client.online_endpoints.get(endpoint)
            newest = str((whole.tags or {}).get(_STEP, ""))
            if step and newest.isdecimal() and int(newest) > step:
                raise Conflict(f"Could not set the traffic of {endpoint} in step {step}: step {newest} was taken meanwhile.")
            whole.traffic, whole.mirror_traffic = dict(weights), dict(mirror or {})
            whole.tags = {**(whole.tags or {}), **(tags or {}), **({_STEP: str(step)} if step else {})}
            self._client.online_endpoints.begin_create_or_update(whole)

    def delete_deployment(self, endpoint: str, name: str, *, model: str = "") -> None:
        with told_as(f"delete the deployment {name} of {endpoint}"):
            found = self._found(lambda: self._client.online_deployments.get(name, endpoint)) if model else None
            if found is not None and (held := deployment_state(found).model) != model:
                raise Conflict(f"Could not delete the deployment {name} of {endpoint}: it holds {held} and not {model}.")
            self._found(lambda: self._client.online_deployments.begin_delete(name, endpoint))

    # ---- asking -------------------------------------------------------------------------------------------------------

    def ask(self, endpoint: str, questions: Sequence[Question], timeout: timedelta) -> list[Reply]:
        return self._scoring.ask(endpoint, questions, timeout)

    @cached_property
    def _scoring(self) -> Scoring:
        return Scoring(self._access)

    def _access(self, endpoint: str) -> Access:
        with told_as(f"read the scoring address of {endpoint}"):
            address = str(self._client.online_endpoints.get(endpoint).scoring_uri)
            return Access(address, str(self._client.online_endpoints.get_keys(endpoint).primary_key))

    @staticmethod
    def _found(call: Callable[[], Any]) -> Any:
        """The answer, or None when Azure says that there is no such thing."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return call()
        except ResourceNotFoundError:
            return None
