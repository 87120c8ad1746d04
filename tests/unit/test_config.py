"""tidegate.yaml: what is right is read, and what is wrong is told with its line. Nothing is faked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml

from ml_core import config, config_rollout
from ml_core.errors import ConfigError

ROOT = Path(__file__).parents[2]
GOOD = """\
data_assets:
  flights:
    container: flights
    prefix: incoming/
    suffixes: [.csv]
    window: {quiet_period: 30s}
  customers:
    container: customers
models:
  delay:
    data_asset: flights
    target:
      column: late
      positive_value: "yes"
    endpoint:
      name: flight-delay
    rollout:
      steps: [10, 100]
      interval: 5m
    schedules:
      retrain: "0 0 3 * * *"
  churn:
    data_asset: customers
    target: {column: churn, positive_value: 1}
    endpoint: {name: customer-churn}
"""

MISTAKES = [
    (
        "{quiet_period: 30s}",
        "{quiet_period: 2h}",
        "t.yaml:6: data_assets.flights.window.quiet_period: found '2:00:00', expected a quiet period of at most max_wait "
        "(1:00:00): longer than that no window stays open. null: none.",
    ),
    (
        "{quiet_period: 30s}",
        "{marker: _SUCCESS, max_files: 1}",
        "t.yaml:6: data_assets.flights.window.max_files: found 1, "
        "expected at least 2 beside a marker: with 1 every file closes its window before the marker comes.",
    ),
    (
        "{quiet_period: 30s}",
        "{marker: in/_SUCCESS}",
        "t.yaml:6: data_assets.flights.window.marker: found 'in/_SUCCESS', "
        "expected a file's name without its folder, such as _SUCCESS.",
    ),
    (
        "prefix: incoming/",
        "manifest: latest",
        "t.yaml:4: data_assets.flights.manifest: found 'latest', "
        "expected cumulative, window, or latest and a number of files, such as latest 30.",
    ),
    (
        "prefix: incoming/",
        "prefx: incoming/",
        "t.yaml:4: data_assets.flights.prefx: found 'prefx', "
        "expected one of the keys container, prefix, suffixes, window, manifest, inventory. Did you mean 'prefix'?",
    ),
    (
        "data_asset: flights",
        "data_asset: flight",
        "t.yaml:11: models.delay.data_asset: found 'flight', "
        "expected one of the data assets flights, customers. Did you mean 'flights'?",
    ),
    (
        'positive_value: "yes"',
        "positive_value: yes",
        "t.yaml:14: models.delay.target.positive_value: found True, "
        "expected the label in quotes: YAML reads a bare Yes, No, true or false as a boolean.",
    ),
    (
        "      column: late\n",
        "",
        "t.yaml:12: models.delay.target.column: found nothing, expected a value: this key is required.",
    ),
    (
        "name: flight-delay",
        "name: flight_delay",
        "t.yaml:16: models.delay.endpoint.name: found 'flight_delay', expected an endpoint name that Azure accepts: "
        "3 to 32 letters, digits and hyphens, starting with a letter.",
    ),
    (
        "name: flight-delay",
        "name: Customer-Churn",
        "t.yaml:25: models.churn.endpoint.name: found 'customer-churn', "
        "expected an endpoint of its own; delay already uses this one.",
    ),
    (
        "container: flights",
        "container: My_Flights",
        "t.yaml:3: data_assets.flights.container: found 'My_Flights', "
        "expected a container name that Azure accepts: 3 to 63 lower-case letters, digits and single hyphens.",
    ),
    (
        "container: customers",
        "container: flights",
        "t.yaml:7: data_assets.customers.prefix: found '', "
        "expected a prefix that does not overlap with 'incoming/' of flights: a blob belongs to one data asset.",
    ),
    (
        "[10, 100]",
        "[50, 10, 100]",
        "t.yaml:18: models.delay.rollout.steps: found [50, 10, 100], "
        "expected ascending whole percentages that end in 100, such as [10, 25, 50, 100].",
    ),
    (
        "[10, 100]",
        "[10, 50]",
        "t.yaml:18: models.delay.rollout.steps: found [10, 50], "
        "expected ascending whole percentages that end in 100, such as [10, 25, 50, 100].",
    ),
    (
        "interval: 5m",
        "interval: 5 minutes",
        "t.yaml:19: models.delay.rollout.interval: found '5 minutes', expected a duration such as 30s, 5m, 2h, 1d or PT1M.",
    ),
    (
        '"0 0 3 * * *"',
        '"0 0 3 ? * MON#1"',
        "t.yaml:21: models.delay.schedules.retrain: found '0 0 3 ? * MON#1', expected five or six cron fields "
        'such as "0 0 2 * * *" (second minute hour day month weekday), in UTC.',
    ),
    (
        '"0 0 3 * * *"',
        '"0 0 3 30 2 *"',
        "t.yaml:21: models.delay.schedules.retrain: found '0 0 3 30 2 *', "
        "expected cron fields that name a day which some year has: February has no 30th, April no 31st.",
    ),
    (
        "  customers:\n",
        "  flights:\n",
        "t.yaml:7: data_assets.flights is given twice; it stands on line 2 already.",
    ),
    (
        "  customers:\n",
        "  our customers:\n",
        "t.yaml:7: data_assets.our customers: found 'our customers', "
        "expected a name that Azure accepts: letters, digits, '-', '_' and '.', starting with a letter or digit.",
    ),
    (
        "  delay:\n",
        "  delay.v2:\n",
        "t.yaml:10: models.delay.v2: found 'delay.v2', expected a model's name of letters, digits, '-' and '_', at most 200: "
        "its jobs are called after it, and they may not hold a '.'.",
    ),
    (
        "column: late",
        "column: it's late",
        't.yaml:13: models.delay.target.column: found "it\'s late", '
        "expected text without quotes, backslashes, line breaks and ${{, for it travels in a job's command line.",
    ),
    (
        'positive_value: "yes"',
        'positive_value: "${{inputs.x}}"',
        "t.yaml:14: models.delay.target.positive_value: found '${{inputs.x}}', "
        "expected text without quotes, backslashes, line breaks and ${{, for it travels in a job's command line.",
    ),
    (
        "    endpoint:\n",
        '    id_columns: ["a,b"]\n    endpoint:\n',
        "t.yaml:15: models.delay.id_columns.0: found 'a,b', "
        "expected a column's name without a comma, for the names travel in one list, separated by commas.",
    ),
    ("data_assets:\n", "poll: 0s\ndata_assets:\n", "t.yaml:1: poll: found '0s', expected a duration of at least 100ms."),
    (
        "interval: 5m",
        "evidence_granularity: 500ms",
        "t.yaml:19: models.delay.rollout.evidence_granularity: found '500ms', expected a duration of at least 1s.",
    ),
    ("suffixes: [.csv]", "suffixes: [.csv", "t.yaml:6: this is not YAML: expected ',' or ']', but got ':'."),
    ("    suffixes: [.csv]", "    suffixes: .csv", "t.yaml:5: data_assets.flights.suffixes: found '.csv', expected a list."),
]


@pytest.mark.parametrize(("right", "wrong", "told"), MISTAKES, ids=[told.split(": ")[1] for _, _, told in MISTAKES])
def test_a_mistake_is_told_with_its_line_what_was_found_and_what_was_expected(right: str, wrong: str, told: str) -> None:
    assert right in GOOD
    with pytest.raises(ConfigError) as raised:
        config.parse(GOOD.replace(right, wrong, 1), file="t.yaml")
    assert str(raised.value) == told


@pytest.mark.parametrize("character", ["'", '"', "\\", "\n", "\r", "\0", "${{"])
def test_what_would_end_a_string_of_a_command_is_in_no_column_and_no_label(character: str) -> None:
    document = yaml.safe_load(GOOD)
    for key in ("column", "positive_value"):
        document["models"]["delay"]["target"] = {"column": "late", "positive_value": "yes", key: f"a{character}b"}
        with pytest.raises(ValueError, match="travels in a job's command line"):
            config.Config.model_validate(document)
    document = yaml.safe_load(GOOD)
    document["models"]["delay"]["id_columns"] = [f"a{character}b"]
    with pytest.raises(ValueError, match="travels in a job's command line"):
        config.Config.model_validate(document)


def test_the_old_deployment_stays_warm_for_as_long_as_a_step_unless_it_is_told_otherwise() -> None:
    rollout = config_rollout.Rollout()
    assert rollout.bake == rollout.interval == timedelta(minutes=10)


def test_all_mistakes_are_told_at_once() -> None:
    text = GOOD.replace("interval: 5m", "interval: soon").replace("prefix:", "prefx:")
    with pytest.raises(ConfigError) as raised:
        config.parse(text)
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["", "[]", "3", "data_assets: {}", "models: {}"])
def test_a_file_that_says_nothing_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"tidegate\.yaml:1: "):
        config.parse(text)


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TIDEGATE_CONFIG"):
        config.load(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("PT1M", timedelta(minutes=1)),
        ("P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
    ],
)
def test_durations_are_read_short_and_in_iso_8601(text: str, span: timedelta) -> None:
    parsed = config.parse(GOOD.replace("interval: 5m", f"interval: {text}"))
    assert parsed.models["delay"].rollout.interval == span


def test_a_five_field_schedule_fires_at_second_zero() -> None:
    parsed = config.parse(GOOD.replace('"0 0 3 * * *"', '"15 3 * * *"'))
    assert parsed.models["delay"].schedules.retrain == "0 15 3 * * *"


@pytest.mark.parametrize(
    ("container", "path", "asset"),
    [
        ("flights", "incoming/a.csv", "flights"),
        ("flights", "incoming/A.CSV", "flights"),
        ("flights", "incoming-old/a.csv", None),
        ("flights", "incoming/a.txt", None),
        ("customers", "anything", "customers"),
        ("others", "incoming/a.csv", None),
    ],
)
def test_a_blob_belongs_to_the_asset_whose_container_prefix_and_suffix_fit(container: str, path: str, asset: str | None) -> None:
    assert config.parse(GOOD).asset_of(container, path) == asset


def test_the_file_of_the_repository_is_right_and_fits_the_schema_for_editors() -> None:
    parsed = config.load(ROOT / "tidegate.yaml")
    assert set(parsed.models) == {"flight-delay", "customer-churn"}
    jsonschema.validate(yaml.safe_load((ROOT / "tidegate.yaml").read_text()), config.json_schema())


def test_the_schema_for_editors_refuses_a_typo() -> None:
    document = yaml.safe_load(GOOD.replace("prefix:", "prefx:"))
    with pytest.raises(jsonschema.ValidationError, match="prefx"):
        jsonschema.validate(document, config.json_schema())


def test_a_window_need_not_close_by_quiet_and_its_marker_needs_no_suffix() -> None:
    text = GOOD.replace("{quiet_period: 30s}", "{quiet_period: null, marker: _SUCCESS}")
    asset = config.parse(text).data_assets["flights"]
    assert asset.window.quiet_period is None
    assert asset.holds("flights", "incoming/monday/_SUCCESS")
    assert not asset.holds("flights", "incoming/monday/_SUCCESS.txt")
    assert asset.window.is_marker("incoming/monday/_SUCCESS")
    assert asset.window.folder_of("incoming/monday/a.csv") == "incoming/monday"
    assert config.parse(GOOD).data_assets["flights"].window.folder_of("incoming/monday/a.csv") == ""
