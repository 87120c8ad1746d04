"""A file dropped into a container ends as a model behind an endpoint: the demo's story, looked at from every side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from local.demo.story import ENDPOINT, MODEL, RAMP, Outcome
from local.layout import git_commit
from local.stack import Stack
from tests.e2e.conftest import Host
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.train_environment]

Read = Callable[[str], dict[str, Any]]


def test_each_file_becomes_one_data_version_and_one_model(outcome: Outcome) -> None:
    assert len(outcome.versions) == len(set(outcome.versions)) == 2
    assert [(model.name, model.version) for model in outcome.models] == [(MODEL, "1"), (MODEL, "2")]
    assert [model.tags["data_version"] for model in outcome.models] == outcome.versions


def test_a_model_says_where_it_comes_from_and_how_good_it_is(outcome: Outcome) -> None:
    tags = outcome.models[-1].tags
    assert tags["data_asset"] == "flights"
    assert tags["job"] == f"train-{MODEL}-{tags['data_version']}"
    assert tags["cause"] == "data"
    assert tags["git_commit"] == git_commit()
    assert 0.6 <= float(tags["auc"]) <= 1.0
    assert 0.0 < float(tags["average_precision"]) <= 1.0
    assert float(tags["log_loss"]) > 0.0
    assert 0.0 <= float(tags["calibration_error"]) <= 1.0


def test_one_correlation_id_leads_from_the_files_to_the_endpoint(stack: Stack, outcome: Outcome, ledger: Read) -> None:
    model = outcome.models[-1]
    (version,) = ledger(f"data-versions/flights/{model.tags['data_version']}.json").values()
    trail = version["correlation_id"]
    assert trail
    assert ledger(f"training-jobs/{model.tags['job']}.json").popitem()[1]["correlation_id"] == trail
    (job,) = [job for job in stack.observer.jobs(steps=False) if job.name == model.tags["job"]]
    (endpoint,) = [found for found in stack.observer.endpoints() if found.name == ENDPOINT]
    (deployment,) = endpoint.deployments
    for tags in (job.tags, endpoint.tags, deployment.tags):
        assert tags["tidegate.correlation_id"] == trail
    assert model.tags["correlation_id"] == trail


def test_the_candidate_takes_over_step_by_step_and_no_request_fails(outcome: Outcome) -> None:
    assert tuple(outcome.ramp) == RAMP
    assert outcome.traffic is not None
    assert dict(outcome.traffic.errors) == {}
    answered_by_candidate = [
        weight for (weight, who), count in outcome.traffic.answered.items() if who == outcome.candidate and count
    ]
    assert set(RAMP) - {0, 100} <= set(answered_by_candidate)


def test_only_the_new_deployment_stands_in_the_end(stack: Stack, outcome: Outcome) -> None:
    (endpoint,) = [found for found in stack.observer.endpoints() if found.name == ENDPOINT]
    assert [(found.name, found.model) for found in endpoint.deployments] == [(outcome.candidate, f"{MODEL}:2")]
    assert endpoint.traffic.get(outcome.candidate) == 100


def test_every_step_of_the_rollout_is_a_decision_with_its_evidence(outcome: Outcome, ledger: Read) -> None:
    decisions = [document for _, document in sorted(ledger(f"decisions/rollouts/{ENDPOINT}/").items())]
    shifts = [decision["action"] for decision in decisions if decision["action"]["kind"] == "shift traffic"]
    live = [action["split"]["weights"].get(outcome.candidate, 0) for action in shifts]
    assert live[-4:] == [10, 25, 50, 100]
    assert any(action["split"]["mirror"].get(outcome.candidate) for action in shifts)
    assert all(action["reason"] for action in shifts)
    judged = [decision["state"]["active"] for decision in decisions if decision["state"]["active"]][-1]["tally"]
    assert judged["candidate"]["requests"] > 0 < judged["stable"]["requests"]
    assert judged["candidate"]["errors"] == judged["stable"]["errors"] == 0
    assert sum(len(decision["observation"]["evidence"]["intervals"]) for decision in decisions if weighed(decision)) > 3


def weighed(decision: dict[str, Any]) -> bool:
    return decision["action"]["kind"] == "weigh" and decision["observation"]["evidence"] is not None


def test_an_event_that_comes_twice_changes_nothing(stack: Stack, outcome: Outcome, host: Host, ledger: Read) -> None:
    windows = ledger("windows/flights/")
    bundles = [bundle for window in windows.values() for bundle in window["receipts"].values()]
    first = next(receipt for bundle in bundles for receipt in bundle if receipt["event_id"])
    again = {
        "id": first["event_id"],
        "topic": stack.environment.storage_account_id,
        "subject": f"/blobServices/default/containers/flights/blobs/{first['path']}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-01-01T00:00:00Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {
            "api": "PutBlob",
            "url": stack.blobs().get_blob_client("flights", first["path"]).url,
            "eTag": first["etag"],
            "contentLength": first["size"],
            "blobType": "BlockBlob",
        },
    }
    looks = host.succeeded("reconcile_data_asset")
    assert host.post_events("register_uploaded_data", [again]).status_code == 202
    wait_until(lambda: host.succeeded("reconcile_data_asset") > looks, what="another look at the data asset")
    wait_until(lambda: not ledger("arrivals/flights/"), what="the arrival's folding in")
    assert ledger("windows/flights/") == windows
    assert stack.observer.data_versions("flights") == outcome.versions
    assert len([job for job in stack.observer.jobs() if job.tags["tidegate.model"] == MODEL]) == 2
