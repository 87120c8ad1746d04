"""What the workspace promises, on the fake and through the unmodified SDK against the emulator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ml_core.errors import Conflict, PermanentError
from ml_core.ingestion.manifest import version_folder
from ml_core.ports import Blob, DeploymentSpec, EndpointState, ModelVersion, Question, TrainingJob
from tests.contract.conftest import Place

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

Name = Callable[[str], str]


def files_of(place: Place, asset: str) -> dict[str, str]:
    """The folder of a version that holds one blob, which has been deleted since."""
    gone = Blob(f"{place.account_url}/c/a.csv", "a.csv", "0x1", 10, datetime(2026, 3, 1, tzinfo=UTC))
    return version_folder(asset, "v1", [gone])


def spec(endpoint: str, slot: str, model: str, version: str = "1") -> DeploymentSpec:
    return DeploymentSpec(endpoint, slot, model, version, "Standard_DS3_v2", 1, "python:3.11")


def endpoint_of(place: Place, name: str) -> EndpointState:
    found = place.port.endpoint(name)
    assert found is not None
    return found


def settled(place: Place, name: str) -> Callable[[], bool]:
    def happened() -> bool:
        found = place.port.endpoint(name)
        states = [found.provisioning_state, *(one.provisioning_state for one in found.deployments.values())] if found else [""]
        return set(states) <= {"Succeeded", "Failed"}

    return happened


def test_what_does_not_exist_is_none(place: Place, name: Name) -> None:
    assert place.port.job(name("job")) is None
    assert place.port.model(name("model"), "1") is None
    assert place.port.model_of_job(name("model"), "job") is None
    assert place.port.endpoint(name("endpoint")) is None


def test_a_data_version_is_registered_once_however_often_it_is_asked_for(place: Place, name: Name) -> None:
    asset = name("flights")
    for _ in range(2):
        place.port.register_data_version(asset, "v1", files_of(place, asset), {"tidegate.data_asset": asset})
    assert place.data_versions(asset) == ["v1"]


def test_a_model_is_found_by_its_version_and_by_its_job_and_ten_is_newer_than_nine(place: Place, name: Name) -> None:
    model = name("model")
    for version in ("9", "10"):
        place.register_model(ModelVersion(model, version, {"job": "train-a", "auc": "0.8"}))
    place.register_model(ModelVersion(model, "11", {"job": "train-b"}))
    found = place.port.model(model, "9")
    assert found is not None
    assert (found.version, found.tags["auc"]) == ("9", "0.8")
    found = place.port.model_of_job(model, "train-a")
    assert found is not None
    assert found.version == "10"
    assert place.port.model_of_job(model, "train-c") is None
    assert place.port.model(model, "12") is None


@pytest.mark.train_environment
def test_a_job_is_submitted_once_and_a_failed_one_tells_its_error(place: Place, name: Name) -> None:
    asset, job_name = name("flights"), name("train")
    place.port.register_data_version(asset, "v1", files_of(place, asset), {})
    job = TrainingJob(
        name=job_name,
        pipeline="components/pipelines/train.yml",
        data_asset=asset,
        data_version="v1",
        model=name("model"),
        cause="data",
        inputs={"target_column": "late", "positive_value": "yes", "min_auc": 0.6},
    )
    if hasattr(place.port, "training_error"):
        place.port.training_error = "the blob is not to be found"
    for _ in range(2):
        place.port.submit_training(job)
    found = place.port.job(job_name)
    assert found is not None
    assert found.name == job_name
    place.until(lambda: (now := place.port.job(job_name)) and now.ended)
    found = place.port.job(job_name)
    assert found is not None
    assert found.status == "Failed"
    assert found.error


@pytest.mark.parametrize("place", ["real"], indirect=True)
def test_a_job_is_told_the_account_that_it_may_read_and_whose_trail_it_is_part_of(
    place: Place, name: Name, ml_client: MLClient
) -> None:
    asset = name("flights")
    place.port.register_data_version(asset, "v1", files_of(place, asset), {})
    inputs = {"target_column": "late", "positive_value": "yes"}
    model, trail = name("model"), "flights-20260301T120000Z-0a1b2c"
    job = TrainingJob(name("train"), "components/pipelines/train.yml", asset, "v1", model, "data,rerun-1", inputs, trail)
    place.port.submit_training(job)
    found = ml_client.jobs.get(job.name)
    assert found.inputs["data_account_url"]._data == place.account_url.rstrip("/")
    assert (found.inputs["correlation_id"]._data, found.inputs["cause"]._data) == (trail, "data,rerun-1")
    tags = {"model": model, "data_asset": asset, "data_version": "v1", "cause": "data,rerun-1", "correlation_id": trail}
    assert {key: found.tags[f"tidegate.{key}"] for key in tags} == tags
    place.until(lambda: (now := place.port.job(job.name)) and now.ended)


def test_a_job_on_data_that_does_not_exist_is_refused_for_good(place: Place, name: Name) -> None:
    job = TrainingJob(
        name("train"), "components/pipelines/train.yml", name("nothing"), "v1", "m", "data", {"target_column": "late"}
    )
    with pytest.raises(PermanentError, match=job.name):
        place.port.submit_training(job)


def test_an_endpoint_with_two_deployments_shifts_its_traffic_and_lets_the_old_one_go(place: Place, name: Name) -> None:
    endpoint, model = name("line"), name("model")
    place.register_model(ModelVersion(model, "1"))
    place.register_model(ModelVersion(model, "2"))
    place.port.create_endpoint(endpoint, {"tidegate.model": model})
    place.until(settled(place, endpoint))
    for slot, version in (("blue", "1"), ("green", "2")):
        place.port.create_deployment(spec(endpoint, slot, model, version))
        place.until(settled(place, endpoint))
    found = endpoint_of(place, endpoint)
    assert {slot: one.model for slot, one in found.deployments.items()} == {"blue": f"{model}:1", "green": f"{model}:2"}
    assert not any(found.traffic.values()), "a new deployment gets no traffic"

    trails: tuple[dict[str, str], ...] = ({"tidegate.correlation_id": "one"}, {"tidegate.correlation_id": "two"}, {})
    for weights, trail in zip(({"blue": 100}, {"blue": 90, "green": 10}, {"blue": 0, "green": 100}), trails, strict=True):
        place.port.set_traffic(endpoint, weights, trail)
        place.until(settled(place, endpoint))
        seen = endpoint_of(place, endpoint).traffic
        assert {slot: weight for slot, weight in seen.items() if weight} == {
            slot: weight for slot, weight in weights.items() if weight
        }

    # What is not told anew stays.
    assert place.endpoint_tags(endpoint).items() >= {"tidegate.model": model, "tidegate.correlation_id": "two"}.items()

    # A process that stood still comes late with what it was about to make. What is there, and serves, stays as it is.
    place.port.create_endpoint(endpoint, {"tidegate.model": "late"})
    place.port.create_deployment(spec(endpoint, "green", model, "1"))
    place.until(settled(place, endpoint))
    found = endpoint_of(place, endpoint)
    assert ({slot: weight for slot, weight in found.traffic.items() if weight}) == {"green": 100}
    assert found.deployments["green"].model == f"{model}:2"
    assert place.endpoint_tags(endpoint)["tidegate.model"] == model

    refuses_what_came_too_late(place, endpoint, model)
    with pytest.raises(PermanentError):
        place.port.delete_deployment(endpoint, "green")
    place.port.delete_deployment(endpoint, "blue", model=f"{model}:1")
    place.until(lambda: set(endpoint_of(place, endpoint).deployments) == {"green"})
    place.port.delete_deployment(endpoint, "blue", model=f"{model}:1")  # what is gone may be deleted again

    place.port.create_deployment(spec(endpoint, "blue", model, "1"))
    place.until(settled(place, endpoint))
    anew = endpoint_of(place, endpoint).deployments["blue"].created_at
    assert anew > found.deployments["blue"].created_at > "", "a deployment that was made anew is told from the old one"


def refuses_what_came_too_late(place: Place, endpoint: str, model: str) -> None:
    """Of an endpoint with blue (version 1) and green (version 2, which serves): neither an overtaken step nor another's slot."""

    def split() -> tuple[dict[str, int], dict[str, int]]:
        place.until(settled(place, endpoint))
        seen = endpoint_of(place, endpoint)
        live = {slot: weight for slot, weight in seen.traffic.items() if weight}
        return live, {slot: weight for slot, weight in seen.mirror.items() if weight}

    place.port.set_traffic(endpoint, {"green": 100}, mirror={"blue": 10}, step=9)
    assert split() == ({"green": 100}, {"blue": 10})
    for late in (1, 8):
        with pytest.raises(Conflict, match="step 9"):
            place.port.set_traffic(endpoint, {"blue": 100}, {"tidegate.correlation_id": "late"}, step=late)
    with pytest.raises(Conflict, match=f"{model}:1"):
        place.port.delete_deployment(endpoint, "blue", model=f"{model}:2")
    with pytest.raises(PermanentError):
        place.port.delete_deployment(endpoint, "blue", model=f"{model}:1")  # it is mirrored to
    for mirror in ({"green": 10}, {"blue": 51}):
        with pytest.raises(PermanentError):
            place.port.set_traffic(endpoint, {"green": 100}, mirror=mirror, step=10)
    assert split() == ({"green": 100}, {"blue": 10})
    assert place.endpoint_tags(endpoint).items() >= {"tidegate.step": "9", "tidegate.correlation_id": "two"}.items()

    # The same step may be asked for again, and as a number 10 is newer than 9.
    for step in (9, 10):
        place.port.set_traffic(endpoint, {"green": 100}, step=step)
        assert split() == ({"green": 100}, {}), "what is not mirrored any more is not named"
    assert place.endpoint_tags(endpoint)["tidegate.step"] == "10"


def test_weights_that_do_not_sum_or_name_nobody_are_refused_for_good(place: Place, name: Name) -> None:
    endpoint = name("line")
    place.port.create_endpoint(endpoint, {})
    place.until(settled(place, endpoint))
    for weights in ({"blue": 100}, {"blue": 50}):
        with pytest.raises(PermanentError):
            place.port.set_traffic(endpoint, weights)


def test_a_deployment_of_a_model_that_does_not_exist_is_refused_for_good(place: Place, name: Name) -> None:
    endpoint = name("line")
    place.port.create_endpoint(endpoint, {})
    place.until(settled(place, endpoint))
    with pytest.raises(PermanentError):
        place.port.create_deployment(spec(endpoint, "blue", name("model")))


def test_a_deployment_that_fails_says_why_in_a_few_lines(place: Place, name: Name) -> None:
    endpoint, model = name("line"), name("model")
    place.register_model(ModelVersion(model, "1"))
    place.port.create_endpoint(endpoint, {})
    place.until(settled(place, endpoint))
    place.break_scoring("no module named xgboost")
    place.port.create_deployment(spec(endpoint, "blue", model))
    place.until(settled(place, endpoint))
    failed = endpoint_of(place, endpoint).deployments["blue"]
    assert failed.provisioning_state == "Failed"
    assert "no module named xgboost" in failed.error
    assert len(failed.error.splitlines()) <= 20


def test_a_version_that_is_no_number_is_no_model_of_a_job(place: Place, name: Name) -> None:
    model = name("model")
    for version in ("3", "v4", "007"):
        place.register_model(ModelVersion(model, version, {"job": "train-a"}))
    found = place.port.model_of_job(model, "train-a")
    assert found is not None
    assert found.version == "3"


def a_deployment(place: Place, name: Name) -> tuple[str, str]:
    """(an endpoint whose deployment blue stands at 0 %, its model)."""
    endpoint, model = name("line"), name("model")
    place.register_model(ModelVersion(model, "1"))
    place.port.create_endpoint(endpoint, {})
    place.until(settled(place, endpoint))
    place.port.create_deployment(spec(endpoint, "blue", model))
    place.until(settled(place, endpoint))
    return endpoint, model


TABLE = {"input_data": {"columns": ["carrier"], "data": [["AA"]]}}
FIVE_SECONDS = timedelta(seconds=5)


def test_a_deployment_at_zero_percent_answers_who_asks_it_by_its_name(place: Place, name: Name) -> None:
    endpoint, _ = a_deployment(place, name)
    replies = place.port.ask(endpoint, [Question("blue", TABLE)] * 3, FIVE_SECONDS)
    assert [(reply.status, len(reply.body["scores"]), reply.error) for reply in replies] == [(200, 1, "")] * 3
    assert all(0 < reply.seconds < 5 for reply in replies)
    assert place.port.ask(endpoint, [], FIVE_SECONDS) == []
    (nobody,) = place.port.ask(endpoint, [Question("green", TABLE)], FIVE_SECONDS)
    assert (nobody.status, nobody.body) == (404, None)
    with pytest.raises(PermanentError):
        place.port.ask(name("nowhere"), [Question("blue", TABLE)], FIVE_SECONDS)


def test_what_a_deployment_does_wrong_is_a_reply(place: Place, name: Name) -> None:
    endpoint, model = a_deployment(place, name)
    place.answers_take(f"{model}:1", 3)
    (late,) = place.port.ask(endpoint, [Question("blue", {**TABLE, "seconds": 3})], timedelta(milliseconds=200))
    assert (late.status, late.body, late.error) == (0, None, "no answer within 0.2 s")
    assert 0.2 <= late.seconds < 3
    place.answers_take(f"{model}:1", 0.02)
    if hasattr(place.port, "scoring_error"):
        place.port.scoring_error = "asked to fail"
    (failed,) = place.port.ask(endpoint, [Question("blue", {**TABLE, "fail": True})], timedelta(seconds=10))
    assert (failed.status, failed.body) == (424, None)
    assert failed.error


def test_a_file_of_a_model_is_read_unless_it_is_too_large_or_not_there(place: Place, name: Name) -> None:
    model = name("model")
    place.register_files(ModelVersion(model, "1"), {"golden.json": b'{"scores": [0.5]}', "more/rows of ours.json": b""})
    assert place.port.model_file(model, "1", "golden.json", at_most=17) == b'{"scores": [0.5]}'
    assert place.port.model_file(model, "1", "more/rows of ours.json", at_most=17) == b""
    assert place.port.model_file(model, "1", "nothing.json", at_most=17) is None
    with pytest.raises(PermanentError, match=rf"golden\.json of the model {model}:1 has 17 bytes, and 16 are allowed"):
        place.port.model_file(model, "1", "golden.json", at_most=16)
    with pytest.raises(PermanentError, match="there is no such model"):
        place.port.model_file(model, "2", "golden.json", at_most=17)
