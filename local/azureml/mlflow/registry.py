"""MLflow's model registry over the workspace's models: one store, so that both ways see the same versions, tags and events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from local.azureml.call import Call
from local.azureml.mlflow import search
from local.azureml.mlflow.artifacts import describe
from local.azureml.mlflow.entities import Json, job_of, latest_of, model_version, registered_model, stage_of
from local.azureml.mlflow.errors import exists, invalid, missing, unsupported
from local.azureml.mlflow.files import model_artifact_uri
from local.azureml.mlflow.parameters import NO_STAGE, Parameters
from local.azureml.models import ALIASES, MLFLOW_MODEL, Models
from local.azureml.queries import Query
from local.azureml.storage import run_files
from local.azureml.store import Body, MissingDocumentError, Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_PROMPT_TAG = "mlflow.prompt.is_prompt"
_ALIAS = re.compile(r"(?!v\d+$)(?!latest$)[\w-]{1,255}", re.IGNORECASE)
_REGISTERED_VERSION = re.compile(r"models:/+(?P<name>[^/@]+)/(?P<version>\d+)")
_MOST_MODELS, _MOST_VERSIONS = 1000, 200_000
_MOST_FOUND = 1_000_000


class Registry:
    """`answer` runs one operation; every other method is one of MLflow's, its parameters as a mapping in, JSON out."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._models = Models(emulator)
        self._versions, self._names = self._models.kind.segment, self._models.kind.containers
        self._operations: dict[tuple[str, str], Callable[[Parameters], Json]] = {
            ("POST", "registered-models/create"): self.create_registered_model,
            ("GET", "registered-models/get"): self.get_registered_model,
            ("PATCH", "registered-models/update"): self.update_registered_model,
            ("POST", "registered-models/rename"): self.rename_registered_model,
            ("DELETE", "registered-models/delete"): self.delete_registered_model,
            ("GET", "registered-models/search"): self.search_registered_models,
            ("GET", "registered-models/get-latest-versions"): self.get_latest_versions,
            ("POST", "registered-models/get-latest-versions"): self.get_latest_versions,
            ("POST", "registered-models/set-tag"): self.set_registered_model_tag,
            ("DELETE", "registered-models/delete-tag"): self.delete_registered_model_tag,
            ("POST", "registered-models/alias"): self.set_registered_model_alias,
            ("GET", "registered-models/alias"): self.get_model_version_by_alias,
            ("DELETE", "registered-models/alias"): self.delete_registered_model_alias,
            ("POST", "model-versions/create"): self.create_model_version,
            ("GET", "model-versions/get"): self.get_model_version,
            ("PATCH", "model-versions/update"): self.update_model_version,
            ("DELETE", "model-versions/delete"): self.delete_model_version,
            ("GET", "model-versions/search"): self.search_model_versions,
            ("GET", "model-versions/get-download-uri"): self.get_model_version_download_uri,
            ("POST", "model-versions/set-tag"): self.set_model_version_tag,
            ("DELETE", "model-versions/delete-tag"): self.delete_model_version_tag,
            ("POST", "model-versions/transition-stage"): self.transition_model_version_stage,
        }

    def answer(self, method: str, operation: str, parameters: Mapping[str, Any]) -> Json:
        """`operation` as in the path below `/api/2.0/mlflow/`; MlflowError for what is refused."""
        handler = self._operations.get((method, operation))
        if handler is None:
            raise unsupported(f"{method} {operation}")
        try:
            return handler(Parameters(parameters))
        except MissingDocumentError as error:  # deleted while it was being changed
            raise missing(str(error)) from error

    # registered models

    def create_registered_model(self, asked: Parameters) -> Json:
        name, tags = asked.text("name"), asked.tags()
        if asked.optional("deployment_job_id"):
            raise unsupported("deployment jobs")
        _refuse_prompt(tags)
        properties = {"tags": tags, **({"description": asked.optional("description")} if asked.optional("description") else {})}
        with self._store.transaction():
            if self._store.record(self._names, name) is not None:
                raise exists(f"Registered Model (name={name}) already exists.")
            self._models.put_name(Call("PUT", "", {"name": name}, body={"properties": properties}))
        return {"registered_model": self._shown(self._name(name))}

    def get_registered_model(self, asked: Parameters) -> Json:
        return {"registered_model": self._shown(self._name(asked.text("name")))}

    def update_registered_model(self, asked: Parameters) -> Json:
        name = asked.text("name")
        self._change(self._names, self._name(name), lambda old: {**old, "description": asked.optional("description") or ""})
        return {"registered_model": self._shown(self._name(name))}

    def rename_registered_model(self, asked: Parameters) -> Json:
        """As Azure: a model's name is part of its identity."""
        self._name(asked.text("name"))
        raise unsupported("renaming registered models")

    def delete_registered_model(self, asked: Parameters) -> Json:
        """As Azure's documentation says: versions can be deleted, their container cannot."""
        self._name(asked.text("name"))
        raise unsupported("deleting registered models: delete their versions, or archive the model")

    def search_registered_models(self, asked: Parameters) -> Json:
        asked_for = search.narrowed(Query(self._names, archived=False, newest_first=False), asked.optional("filter"))
        found = search.models(self._store.page(asked_for, _MOST_FOUND).records, asked.optional("filter"), asked.texts("order_by"))
        shown, following = search.page(found, asked.limit(100, _MOST_MODELS), asked.optional("page_token"))
        return {"registered_models": [self._shown(one) for one in shown], "next_page_token": following}

    def get_latest_versions(self, asked: Parameters) -> Json:
        record, stages = self._name(asked.text("name")), asked.texts("stages")
        latest = latest_of(self._active(record.name))
        wanted = [one for stage, one in latest.items() if not stages or stage.lower() in {each.lower() for each in stages}]
        return {"model_versions": [self._version_shown(one) for one in wanted]}

    def set_registered_model_tag(self, asked: Parameters) -> Json:
        return self._tag(self._names, self._name(asked.text("name")), asked)

    def delete_registered_model_tag(self, asked: Parameters) -> Json:
        return self._untag(self._names, self._name(asked.text("name")), asked)

    # aliases

    def set_registered_model_alias(self, asked: Parameters) -> Json:
        record, alias = self._version(asked), asked.text("alias")
        if not _ALIAS.fullmatch(alias):
            raise invalid(f"'{alias}' is no alias: letters, digits, '_' and '-', neither a version like v1 nor latest.")
        self._store.put(ALIASES, record.name, alias, {"version": record.version})
        return {}

    def get_model_version_by_alias(self, asked: Parameters) -> Json:
        name, alias = self._name(asked.text("name")).name, asked.text("alias")
        named = self._store.get(ALIASES, name, alias)
        if named is None:
            raise invalid(f"Registered model alias {alias} not found.")
        return {"model_version": self._version_shown(self._existing(name, named["version"]))}

    def delete_registered_model_alias(self, asked: Parameters) -> Json:
        self._store.delete(ALIASES, self._name(asked.text("name")).name, asked.text("alias"))
        return {}

    # model versions

    def create_model_version(self, asked: Parameters) -> Json:
        """Its files are copied into the workspace first; `source` is the artifacts of a run, a logged model or a version."""
        name, source, tags = self._name(asked.text("name")).name, asked.text("source"), asked.tags()
        _refuse_prompt(tags)
        properties: Body = {"modelType": MLFLOW_MODEL, "tags": tags, **self._origin(source, asked.optional("run_id"))}
        if description := asked.optional("description"):
            properties["description"] = description
        return {"model_version": self._version_shown(self._models.register(name, properties))}

    def get_model_version(self, asked: Parameters) -> Json:
        return {"model_version": self._version_shown(self._version(asked))}

    def update_model_version(self, asked: Parameters) -> Json:
        self._change(self._versions, self._version(asked), lambda old: {**old, "description": asked.optional("description")})
        return self.get_model_version(asked)

    def delete_model_version(self, asked: Parameters) -> Json:
        record = self._version(asked)
        self._models.delete_version(Call("DELETE", "", {"name": record.name, "version": record.version}))
        return {}

    def search_model_versions(self, asked: Parameters) -> Json:
        asked_for = search.narrowed(Query(self._versions, archived=False, newest_first=False), asked.optional("filter"))
        found = search.versions(
            self._store.page(asked_for, _MOST_FOUND).records, asked.optional("filter"), asked.texts("order_by"), self._run_of
        )
        shown, following = search.page(found, asked.limit(10_000, _MOST_VERSIONS), asked.optional("page_token"))
        return {"model_versions": [self._version_shown(one) for one in shown], "next_page_token": following}

    def get_model_version_download_uri(self, asked: Parameters) -> Json:
        record = self._version(asked)
        return {"artifact_uri": model_artifact_uri(record.name, record.version)}

    def set_model_version_tag(self, asked: Parameters) -> Json:
        return self._tag(self._versions, self._version(asked), asked)

    def delete_model_version_tag(self, asked: Parameters) -> Json:
        return self._untag(self._versions, self._version(asked), asked)

    def transition_model_version_stage(self, asked: Parameters) -> Json:
        """The stage is the ARM property of that name, so `models.list(stage=)` finds it."""
        record, stage = self._version(asked), asked.stage("stage")
        alone = asked.flag("archive_existing_versions")
        if alone and stage not in ("Staging", "Production"):
            raise invalid("archive_existing_versions can be asked for with the stages Staging and Production only.")
        with self._store.transaction():
            for other in self._active(record.name) if alone else ():
                if other.version != record.version and stage_of(other) == stage:
                    self._change(self._versions, other, lambda old: {**old, "stage": "Archived"})
            self._change(self._versions, record, lambda old: {**old, "stage": None if stage == NO_STAGE else stage})
        return self.get_model_version(asked)

    # what they share

    def _name(self, name: str) -> Record:
        record = self._store.record(self._names, name)
        if record is None:
            raise missing(f"Registered Model with name={name} not found")
        return record

    def _version(self, asked: Parameters) -> Record:
        return self._existing(asked.text("name"), asked.text("version"))

    def _existing(self, name: str, version: str) -> Record:
        record = self._store.record(self._versions, name, version)
        if record is None:
            raise missing(f"Model Version (name={name}, version={version}) not found")
        return record

    def _active(self, name: str) -> Sequence[Record]:
        query = Query(self._versions, name, archived=False, newest_first=False)
        return self._store.page(query, _MOST_FOUND).records

    def _aliases(self, name: str) -> dict[str, str]:
        return {record.version: record.body["version"] for record in self._store.records(ALIASES, name)}

    def _shown(self, record: Record) -> Json:
        return registered_model(record, self._active(record.name), self._aliases(record.name))

    def _version_shown(self, record: Record) -> Json:
        aliases = sorted(alias for alias, version in self._aliases(record.name).items() if version == record.version)
        return model_version(record, aliases, self._run_of(record))

    def _run_of(self, record: Record) -> str | None:
        """The MLflow run behind a version; None when the workspace does not know one, or the mlflow server cannot say now."""
        origin = (record.body["properties"].get("properties") or {}).get("mlflow.runId")
        return origin or self._emulator.artifacts.known_id(job_of(record))

    def _origin(self, source: str, run_id: str) -> Body:
        if match := _REGISTERED_VERSION.fullmatch(source):  # copied, or promoted under another name
            properties = self._existing(match["name"], match["version"]).body["properties"]
            kept = {key: properties[key] for key in ("modelUri", "modelType", "jobName") if properties.get(key)}
            return {**kept, "properties": {**(properties.get("properties") or {}), "mlflow.modelSourceUri": source}}
        if not source.startswith(("models:", "runs:", "mlflow-artifacts:", "azureml:")):
            raise invalid(
                f"The source '{source}' is not reachable for the workspace: log the model to a run, or register its folder with "
                "azure-ai-ml (models.create_or_update)."
            )
        if source.startswith("azureml:") and run_files(source) is None:
            return {"modelUri": source, "properties": {"mlflow.modelSourceUri": source}}
        artifacts = self._emulator.artifacts
        found = artifacts.find_source(source, run_id or None)
        uri = self._emulator.storage.datastore_uri(artifacts.bring(found))
        origin = {"jobName": found.job} if found.job else {}
        return {"modelUri": uri, **origin, "properties": describe(found, source)}

    def _tag(self, kind: str, record: Record, asked: Parameters) -> Json:
        key, value = asked.text("key"), asked.optional("value")
        _refuse_prompt({key: value})
        self._change(kind, record, lambda old: {**old, "tags": {**(old.get("tags") or {}), key: value}})
        return {}

    def _untag(self, kind: str, record: Record, asked: Parameters) -> Json:
        gone = asked.text("key")

        def without(old: Body) -> Body:
            return {**old, "tags": {key: value for key, value in (old.get("tags") or {}).items() if key != gone}}

        self._change(kind, record, without)
        return {}

    def _change(self, kind: str, record: Record, change: Callable[[Body], Body]) -> None:
        self._store.update(kind, record.name, record.version, lambda body: {**body, "properties": change(body["properties"])})


def _refuse_prompt(tags: Mapping[str, str]) -> None:
    if _PROMPT_TAG in tags:
        raise unsupported("prompts")
