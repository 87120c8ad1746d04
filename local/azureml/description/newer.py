"""What the SDK sends and the description of 2024-04-01 does not know: it speaks previews, another one per operation.

A body's field must stand in the description or here; every row says which operation sends it and what the emulator does with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_LIST: Schema = {"type": "array", "items": TEXT}
SCALARS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
"""A map of texts, in which the service takes other scalars for their text."""
PROBE: Schema = {"$ref": "#/$defs/ProbeSettings"}


@dataclass(frozen=True)
class Field:
    """A field of a definition (of several: names joined by blanks), who sends it, what becomes of it."""

    definition: str
    name: str
    sdk: str
    emulator: str
    schema: Schema = field(default_factory=dict)
    instead: bool = False
    """The description has the field, but narrower than the service takes it."""


@dataclass(frozen=True)
class Values:
    """More values of an enum (of several: names joined by blanks), from another version."""

    definition: str
    values: tuple[str, ...]
    sdk: str
    emulator: str


@dataclass(frozen=True)
class Member:
    """One more member of a family of objects: the value that tells it, and which known definition it looks like ("": any)."""

    family: str
    value: str
    like: str
    sdk: str
    emulator: str


_OUTPUTS = "CustomModelJobOutput MLFlowModelJobOutput MLTableJobOutput TritonModelJobOutput UriFileJobOutput UriFolderJobOutput"
_DEPLOYMENTS = "ManagedOnlineDeployment KubernetesOnlineDeployment"
_MONITORS = "schedules.begin_create_or_update of a monitor"

FIELDS: tuple[Field, ...] = (
    Field("CodeVersion", "properties", "every upload of code: hash_version is a number", "kept as sent", SCALARS, instead=True),
    Field(
        "BatchPipelineComponentDeploymentConfiguration",
        "settings",
        "batch_deployments.begin_create_or_update of a pipeline component: continue_on_step_failure is a boolean",
        "the settings of its jobs",
        SCALARS,
        instead=True,
    ),
    Field(
        "LiteralJobInput",
        "value",
        "jobs.create_or_update",
        "any text that is not blank, as the service takes it: the description's pattern would refuse a comma",
        {"type": "string", "minLength": 1, "pattern": r"\S"},
        instead=True,
    ),
    Field(
        "WorkspaceConnectionAccountKey",
        "sas",
        "connections.create_or_update with an account key: it stands in a field of this name",
        "kept apart as a secret",
        TEXT,
    ),
    Field(_OUTPUTS, "assetName", "jobs.create_or_update: Output(name=)", "the output is registered under it", TEXT),
    Field(_OUTPUTS, "assetVersion", "jobs.create_or_update: Output(version=)", "the output is registered as it", TEXT),
    Field("Registry", "managedResourceGroupTags", "registries.begin_create: the registry's own tags", "kept as sent", SCALARS),
    Field("JobResourceConfiguration", "dockerArgsList", "jobs.create_or_update", "kept: there is no container", TEXT_LIST),
    Field("JobResourceConfiguration", "locations", "jobs.create_or_update: serverless", "kept: jobs run here", TEXT_LIST),
    Field(
        "JobResourceConfiguration", "maxInstanceCount", "jobs.create_or_update: elastic", "kept: one node", {"type": "integer"}
    ),
    Field(
        "QueueSettings",
        "priority",
        "jobs.create_or_update: queue_settings",
        "kept: jobs start in their order",
        {"type": "integer"},
    ),
    Field(
        "RandomSamplingAlgorithm",
        "logbase",
        "jobs.create_or_update: random sweep",
        "see the sweep",
        {"type": ["number", "string"]},
    ),
    Field(
        "DataDriftMonitoringSignal PredictionDriftMonitoringSignal DataQualityMonitoringSignal "
        "FeatureAttributionDriftMonitoringSignal CustomMonitoringSignal",
        "mode",
        f"{_MONITORS}: whether it alerts",
        "kept and checked, never run",
        TEXT,
    ),
    Field(
        "PredictionDriftMonitoringSignal",
        "modelType",
        f"{_MONITORS}: the older place of the metrics' dataType",
        "kept and checked, never run",
        TEXT,
    ),
    Field(_DEPLOYMENTS, "startupProbe", "online_deployments.begin_create_or_update", "see the deployment", PROBE),
)

VALUES: tuple[Values, ...] = (
    Values("ModelTaskType", ("QuestionAnswering",), _MONITORS, "kept and checked, never run"),
    Values("ConnectionCategory", ("AzureOpenAi",), "connections.create_or_update: the SDK's own spelling", "kept as sent"),
)

MEMBERS: tuple[Member, ...] = (
    Member("MonitoringInputDataBase", "Trailing", "RollingInputData", f"{_MONITORS}: the older name of Rolling", "kept as sent"),
    Member("MonitoringSignalBase", "ModelPerformance", "", _MONITORS, "kept and checked, never run"),
    Member("MonitoringSignalBase", "GenerationSafetyQuality", "", _MONITORS, "kept and checked, never run"),
    Member("MonitoringSignalBase", "GenerationTokenStatistics", "", _MONITORS, "kept and checked, never run"),
    Member("DistributionConfiguration", "Ray", "", "jobs.create_or_update: RayDistribution", "see the job"),
)

ANY_CASE: dict[str, str] = {
    "RecurrenceFrequency WeekDay": "schedules.begin_create_or_update: all lower case",
    "DataCollectionMode RollingRateType EgressPublicNetworkAccessType": "online_deployments.begin_create_or_update: lower case",
    "PublicNetworkAccessType": "online_endpoints.begin_create_or_update: all lower case",
    "Goal RandomSamplingAlgorithmRule": "jobs.create_or_update of a sweep: all lower case",
    "ManagedServiceIdentityType": "compute.begin_create_or_update: Systemassigned",
    "EndpointAuthMode": "batch_endpoints.begin_create_or_update: aadToken",
    "BatchLoggingLevel": "batch_deployments.begin_create_or_update: all lower case",
    "ModelTaskType NumericalDataDriftMetric CategoricalDataDriftMetric NumericalDataQualityMetric CategoricalDataQualityMetric "
    "NumericalPredictionDriftMetric CategoricalPredictionDriftMetric FeatureAttributionMetric MonitoringFeatureDataType "
    "MonitoringNotificationType FeatureImportanceMode": _MONITORS,
}
"""Enums that the service compares without regard to case, and who sends another case than the description's."""
