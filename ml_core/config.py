"""The schema of tidegate.yaml: what to watch and how. A mistake is told with its line, what was found and what was expected."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from ml_core.config_errors import Finding, explain, unique
from ml_core.config_rollout import Freeze, Rollout, WeeklyFreeze
from ml_core.config_values import (
    CONTAINER_NAME,
    ENDPOINT_NAME,
    AssetName,
    Column,
    Duration,
    FileName,
    IdColumn,
    Label,
    Manifest,
    ModelName,
    NonEmpty,
    Probability,
    Schedule,
    Section,
    at_least,
)
from ml_core.errors import ConfigError
from ml_core.yaml_lines import read_yaml


class Window(Section):
    """When a data asset's files are complete enough to become a version."""

    quiet_period: Duration | None = timedelta(seconds=30)
    """So long must nothing change below the prefix. Long enough for one delivery of files, so that it becomes one version. null:
    quiet closes nothing, which suits deliveries with pauses that end in a marker."""

    max_wait: Annotated[Duration, at_least(timedelta(seconds=1), "1s")] = timedelta(hours=1)
    """So long does a window stay open at most: where files never stop coming there is a version all the same."""

    max_files: Annotated[int, Field(ge=1)] | None = None
    """With so many changed files a window closes at once. Not given: however many."""

    marker: FileName | None = None
    """The name of a file that says that its folder is complete, such as _SUCCESS. Then every folder has a window of its own,
    which its marker closes. The marker itself is never part of a version, and need not have one of the suffixes."""

    def is_marker(self, path: str) -> bool:
        """Whether the blob is a marker and no data."""
        return self.marker is not None and path.rpartition("/")[2] == self.marker

    def folder_of(self, path: str) -> str:
        """The folder whose window takes in the blob's changes; '' where the whole asset has one window."""
        return path.rpartition("/")[0] if self.marker is not None else ""


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

    manifest: Manifest = "cumulative"
    """What a version holds: `cumulative` all files that are there; `window` those that the closing window has brought;
    `latest <n>` the n that were written last."""

    inventory: Annotated[Duration, at_least(timedelta(seconds=1), "1s")] = timedelta(hours=1)
    """How often all that is there is compared with all that was told, so that a lost event is made up for. It is also done
    whenever a window closes. Each costs one listing of the prefix."""

    @property
    def newest_files(self) -> int | None:
        """The n of `latest <n>`; None: a version does not depend on when files were written."""
        kind, _, count = self.manifest.partition(" ")
        return int(count) if kind == "latest" else None

    def holds(self, container: str, path: str) -> bool:
        """Whether this blob belongs to the data asset, as data or as a marker."""
        if container != self.container or not path.startswith(self.prefix):
            return False
        ending = tuple(suffix.lower() for suffix in self.suffixes)
        return not ending or path.lower().endswith(ending) or self.window.is_marker(path)


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

    poll: Annotated[Duration, at_least(timedelta(milliseconds=100), "100ms")] = timedelta(seconds=15)
    """How often a running job or an updating endpoint is looked at again. Events come first; this is the net below them."""

    data_assets: dict[AssetName, DataAsset] = Field(min_length=1)
    """What is watched, by name: the name of the Azure ML data asset."""

    models: dict[ModelName, Model] = Field(default={})
    """What is trained and served, by name: the name of the Azure ML model."""

    freeze: tuple[Freeze, ...] = ()
    """Times in which no candidate gets more traffic."""

    freeze_weekly: tuple[WeeklyFreeze, ...] = ()
    """The same in every week."""

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
    for name, asset in config.data_assets.items():
        yield from _contradictions_of_a_window(("data_assets", name, "window"), asset.window)
    yield from _contradictions_of_times(config)


def _contradictions_of_a_window(place: tuple[str, ...], window: Window) -> Iterator[Finding]:
    quiet, longest = window.quiet_period, window.max_wait
    if quiet is not None and quiet > longest:
        expected = f"a quiet period of at most max_wait ({longest}): longer than that no window stays open. null: none"
        yield Finding((*place, "quiet_period"), str(quiet), expected)
    if window.marker is not None and window.max_files == 1:
        expected = "at least 2 beside a marker: with 1 every file closes its window before the marker comes"
        yield Finding((*place, "max_files"), 1, expected)


def _contradictions_of_times(config: Config) -> Iterator[Finding]:
    for number, once in enumerate(config.freeze):
        if once.ends_at <= once.starts_at:
            yield Finding(("freeze", number, "ends_at"), str(once.ends_at), f"a time after its beginning, {once.starts_at}")
    for number, weekly in enumerate(config.freeze_weekly):
        if weekly.ends == weekly.starts:
            yield Finding(("freeze_weekly", number, "ends"), weekly.ends, "another time than its beginning")
    for name, model in config.models.items():
        deadlines = model.rollout.deadlines
        if deadlines.repeat > deadlines.longest_repeat:
            place = ("models", name, "rollout", "deadlines", "repeat")
            expected = f"at most longest_repeat ({deadlines.longest_repeat}): people are told at least so often"
            yield Finding(place, str(deadlines.repeat), expected)


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
