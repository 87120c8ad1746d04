"""The schema of tidegate.yaml: what to watch and how. A mistake is told with its line, what was found and what was expected."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from ml_core.config_errors import Finding, explain, unique
from ml_core.errors import ConfigError
from ml_core.yaml_lines import read_yaml

# The names that Azure accepts, checked here because Azure refuses them only after the data has been uploaded and trained on.
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
CONTAINER_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
ASSET_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$"
# As an asset's name, without the dot: the model's jobs are called after it, and a job's name may not hold one.
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,199}$"
ENDPOINT_NAME = r"^[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]$"

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_ISO_DURATION = re.compile(r"^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# Functions' NCRONTAB: five or six fields of numbers, names, '*', ',', '-' and '/'. Quartz's L, #, ? and @daily are refused.
_UNSAFE_IN_A_COMMAND = re.compile(r"['\"\\\x00-\x1f\x7f]|\$\{\{")
_CRON_FIELD = re.compile(r"^[0-9A-Za-z*,/-]+$")


def _duration(value: object) -> timedelta:
    text = value if isinstance(value, str) else ""
    if isinstance(value, timedelta):
        return value
    if short := _DURATION.match(text):
        return timedelta(**{_UNITS[short[2]]: float(short[1])})
    iso = _ISO_DURATION.match(text)
    if iso and any(iso.groups()):
        days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    raise ValueError("a duration such as 30s, 5m, 2h, 1d or PT1M")


def _label(value: object) -> str:
    # YAML 1.1 reads an unquoted Yes as a boolean, and str(True) would look for the label "True" in vain.
    if isinstance(value, bool):
        raise ValueError("the label in quotes: YAML reads a bare Yes, No, true or false as a boolean")
    if not isinstance(value, str | int | float) or value == "":
        raise ValueError("a label, as it stands in the column")
    return str(value)


def _travels_in_a_command(value: str) -> str:
    # Azure puts inputs into a component's command by text, between single quotes, and runs it by a shell.
    if _UNSAFE_IN_A_COMMAND.search(value):
        raise ValueError("text without quotes, backslashes, line breaks and ${{, for it travels in a job's command line")
    return value


def _listed_with_commas(value: str) -> str:
    if "," in value:
        raise ValueError("a column's name without a comma, for the names travel in one list, separated by commas")
    return value


def _at_least(least: timedelta, told: str) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if value < least:
            raise ValueError(f"a duration of at least {told}")
        return value

    return AfterValidator(check)


def _steps(value: object) -> tuple[int, ...]:
    steps = value if isinstance(value, list | tuple) else ()
    if not steps or any(isinstance(step, bool) or not isinstance(step, int) for step in steps) or steps[-1] != 100:
        raise ValueError("ascending whole percentages that end in 100, such as [10, 25, 50, 100]")
    if list(steps) != sorted(set(steps)) or steps[0] < 1:
        raise ValueError("ascending whole percentages that end in 100, such as [10, 25, 50, 100]")
    return tuple(steps)


def _ncrontab(value: object) -> str:
    fields = value.split() if isinstance(value, str) else []
    from croniter import croniter

    six = " ".join(fields if len(fields) == 6 else ["0", *fields])
    if (
        len(fields) not in (5, 6)
        or not all(map(_CRON_FIELD.match, fields))
        or not croniter.is_valid(six, second_at_beginning=True)
    ):
        raise ValueError('five or six cron fields such as "0 0 2 * * *" (second minute hour day month weekday), in UTC')
    return six


Duration = Annotated[
    timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "examples": ["30s", "5m", "2h", "PT1M"]})
]
Schedule = Annotated[str, BeforeValidator(_ncrontab), WithJsonSchema({"type": "string", "examples": ["0 0 2 * * *"]})]
Label = Annotated[
    str, BeforeValidator(_label), AfterValidator(_travels_in_a_command), WithJsonSchema({"type": ["string", "number"]})
]
Steps = Annotated[
    tuple[int, ...],
    BeforeValidator(_steps),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 100}, "minItems": 1}),
]
AssetName = Annotated[str, StringConstraints(pattern=ASSET_NAME)]
ModelName = Annotated[str, StringConstraints(pattern=MODEL_NAME)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Column = Annotated[NonEmpty, AfterValidator(_travels_in_a_command)]
IdColumn = Annotated[Column, AfterValidator(_listed_with_commas)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of the file. A key that is not in the schema is a typo, never a comment."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Window(Section):
    """When a data asset's files are complete enough to become a version."""

    quiet_period: Duration = timedelta(seconds=30)
    """So long must nothing change below the prefix. Long enough for one delivery of files, so that it becomes one version."""


class DataAsset(Section):
    """Files below a prefix of a container that together are one data set."""

    container: Annotated[str, StringConstraints(pattern=CONTAINER_NAME, min_length=3, max_length=63)]
    """The watched container, in the account of TIDEGATE_DATA__blobServiceUri."""

    prefix: str = ""
    """Only blobs whose path starts so; end it with a slash to mean a folder."""

    suffixes: tuple[NonEmpty, ...] = ()
    """Only blobs whose path ends with one of these, in any case. None given: every blob."""

    window: Window = Window()
    """When the files are complete enough to become a version."""

    def holds(self, container: str, path: str) -> bool:
        """Whether this blob belongs to the data asset."""
        ending = tuple(suffix.lower() for suffix in self.suffixes)
        return container == self.container and path.startswith(self.prefix) and (not ending or path.lower().endswith(ending))


class Target(Section):
    """What is predicted."""

    column: Column
    """The column of the files that holds the label."""

    positive_value: Label
    """The value of that column whose probability is the score. Quote it: YAML reads a bare Yes as true."""


class Gates(Section):
    """What a model must reach on held-out rows to be registered at all. A gate that is not given is not applied."""

    min_auc: Probability | None = None
    """Area under the ROC curve: the chance that a positive row scores higher than a negative one. 0.5 is a coin toss."""

    min_average_precision: Probability | None = None
    """Area under the precision-recall curve. A coin toss reaches the share of positive rows."""

    max_log_loss: Annotated[float, Field(ge=0)] | None = None
    """Mean negative log likelihood, in nats."""

    max_calibration_error: Probability | None = None
    """Expected calibration error: the mean distance between a score and how often it comes true."""


class Endpoint(Section):
    """The managed online endpoint that serves the model."""

    name: Annotated[str, StringConstraints(pattern=ENDPOINT_NAME)]
    """3 to 32 letters, digits and hyphens; unique in the Azure region, since it becomes a host name."""

    instance_type: NonEmpty = "Standard_DS3_v2"
    """The size of the virtual machines."""

    instance_count: Annotated[int, Field(ge=1, le=50)] = 1
    """How many of them each deployment has. During a rollout there are two deployments."""

    image: NonEmpty = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20250701.v1"
    """The base image that components/environment/serve.conda.yaml is built on."""


class Rollout(Section):
    """How a new model version takes over the traffic."""

    steps: Steps = (10, 25, 50, 100)
    """The candidate's share of the traffic, in percent, one step after the other."""

    interval: Duration = timedelta(minutes=10)
    """So long each step is watched before the next. Azure's metrics lag by some minutes: keep it well above that."""

    min_requests: Annotated[int, Field(ge=1)] = 20
    """So many requests must the candidate have answered in a step; with fewer, the step is held."""

    evidence_granularity: Annotated[Duration, _at_least(timedelta(seconds=1), "1s")] = timedelta(minutes=1)
    """The bucket width of the metrics. Azure offers one minute at the finest."""

    bake: Duration = timedelta(minutes=10)
    """So long the old deployment stays warm behind a candidate that has all the traffic, before it is archived. Until then there
    is a way back: as long as a step by default, for the last step is judged as well. 0s archives it at once."""


class Schedules(Section):
    """When things happen though no file came. NCRONTAB, UTC."""

    retrain: Schedule | None = None
    """Train again at these times on the newest data version, though no file came."""


class Model(Section):
    """A model: what it learns from, how good it must be, where it serves."""

    data_asset: AssetName
    """The data asset that it learns from; each of its versions is a reason to train."""

    pipeline: NonEmpty = "components/pipelines/train.yml"
    """The Azure ML pipeline that trains it, relative to the app's folder."""

    target: Target
    """What is predicted."""

    id_columns: tuple[IdColumn, ...] = ()
    """Columns that only tell rows apart: never features."""

    gates: Gates = Gates()
    """What it must reach to be registered."""

    endpoint: Endpoint
    """Where it serves; an endpoint serves one model."""

    rollout: Rollout = Rollout()
    """How a new version takes over."""

    schedules: Schedules = Schedules()
    """When things happen though no file came."""


class Config(Section):
    """The whole of tidegate.yaml."""

    version: Literal[1] = 1
    """The version of this schema."""

    poll: Annotated[Duration, _at_least(timedelta(milliseconds=100), "100ms")] = timedelta(seconds=15)
    """How often a running job or an updating endpoint is looked at again. Events come first; this is the net below them."""

    data_assets: dict[AssetName, DataAsset] = Field(min_length=1)
    """What is watched, by name: the name of the Azure ML data asset."""

    models: dict[ModelName, Model] = {}
    """What is trained and served, by name: the name of the Azure ML model."""

    def asset_of(self, container: str, path: str) -> str | None:
        """The data asset that a blob belongs to. At most one: overlapping prefixes are refused."""
        return next((name for name, asset in self.data_assets.items() if asset.holds(container, path)), None)

    def models_of(self, data_asset: str) -> list[str]:
        return [name for name, model in self.models.items() if model.data_asset == data_asset]

    def model_at(self, endpoint: str) -> str | None:
        return next((name for name, model in self.models.items() if model.endpoint.name == endpoint), None)


def load(path: Path) -> Config:
    """Read and check the file; raise one ConfigError that lists every finding."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file. TIDEGATE_CONFIG names it, relative to the app's folder.") from None
    return parse(text, file=str(path))


def parse(text: str, *, file: str = "tidegate.yaml") -> Config:
    """Check YAML text; raise ConfigError with one line per finding: `file:line: path: found …, expected …`."""
    document, lines = read_yaml(text, file=file)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        findings = explain(error, Config)
    else:
        findings = list(_contradictions(config))
        if not findings:
            return config
    raise ConfigError("\n".join(unique(finding.told(file, lines) for finding in findings)))


def json_schema() -> dict[str, Any]:
    """The JSON schema of the file, for editors and for the reference page."""
    return Config.model_json_schema()


def _contradictions(config: Config) -> Iterator[Finding]:
    """What every section alone allows, and the file as a whole does not."""
    for name, model in config.models.items():
        if model.data_asset not in config.data_assets:
            known = tuple(config.data_assets)
            yield Finding(("models", name, "data_asset"), model.data_asset, f"one of the data assets {', '.join(known)}", known)
    for (first, one), (second, two) in combinations(config.models.items(), 2):
        # Azure compares endpoint names without regard to case.
        if one.endpoint.name.lower() == two.endpoint.name.lower():
            yield Finding(
                ("models", second, "endpoint", "name"),
                two.endpoint.name,
                f"an endpoint of its own; {first} already uses this one",
            )
    for (first, here), (second, there) in combinations(config.data_assets.items(), 2):
        nested = here.prefix.startswith(there.prefix) or there.prefix.startswith(here.prefix)
        if here.container == there.container and nested:
            expected = f"a prefix that does not overlap with {here.prefix!r} of {first}: a blob belongs to one data asset"
            yield Finding(("data_assets", second, "prefix"), there.prefix, expected)


def main(arguments: list[str]) -> int:
    """`python -m ml_core.config [FILE]`: check a configuration before it is deployed. Exit code 1 when there are findings."""
    path = Path(arguments[0] if arguments else "tidegate.yaml")
    try:
        config = load(path)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    print(f"{path}: {len(config.data_assets)} data assets, {len(config.models)} models")  # noqa: T201 - a command's answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
