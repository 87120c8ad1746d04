"""Measures, gates, splits and version numbers: the pure parts of the steps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from . import (
    conftest,  # noqa: F401  puts the components on the import path
    jobs,
)

import measures  # isort: skip
from gates import Gate, failures  # isort: skip
from split import TEST, TRAIN, VALIDATION, split  # isort: skip
from versions import next_version, registered_by  # isort: skip

SKLEARN = """
import json, sys
import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
labels, scores = (np.array(values) for values in json.loads(sys.argv[1]))
values = [roc_auc_score, average_precision_score, log_loss, brier_score_loss]
print(json.dumps([float(measure(labels, scores)) for measure in values]))
"""


def sample(rows: int = 400, *, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores with many ties that have something to do with them."""
    draw = np.random.default_rng(7)
    scores = draw.beta(2, 5, rows)
    return (draw.random(rows) < scores).astype(float), np.clip(scores.round(decimals), 0.01, 0.99)


@pytest.mark.train_environment
def test_measures_are_those_of_scikit_learn() -> None:
    labels, scores = sample()
    expected = json.loads(jobs.script(SKLEARN, json.dumps([labels.tolist(), scores.tolist()])))
    found = measures.summary(labels, scores)
    assert [found[name] for name in ("auc", "average_precision", "log_loss", "brier")] == pytest.approx(expected, abs=1e-12)


def test_calibration_error_is_the_weighted_gap_of_the_bins() -> None:
    labels, scores = np.array([0, 0, 0, 1, 1, 1.0]), np.array([0.05, 0.05, 0.05, 0.05, 0.95, 0.95])
    assert measures.calibration_error(labels, scores) == pytest.approx((4 * abs(1 / 4 - 0.05) + 2 * abs(1 - 0.95)) / 6)
    assert measures.calibration_error(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 0


def test_the_auc_interval_holds_the_true_value_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(11)
    held = 0
    for _ in range(200):
        # Two normal classes one deviation apart: the true AUC is Phi(1 / sqrt(2)) = 0.7602.
        labels = np.r_[np.ones(60), np.zeros(90)]
        low, high = measures.auc_interval(labels, draw.normal(labels))
        held += low <= 0.7602 <= high
    assert 180 <= held <= 199


def test_confusion_counts_every_row_once() -> None:
    labels, scores = np.array([1, 0, 1, 0.0]), np.array([0.5, 0.5, 0.4, 0.1])
    counts = measures.confusion(labels, scores)
    assert [counts[name] for name in ("true_positives", "false_positives", "false_negatives", "true_negatives")] == [1, 1, 1, 1]


def test_a_gate_says_which_measure_missed_what_on_which_data() -> None:
    gates = [Gate("auc", at_least=0.7), Gate("log_loss", at_most=0.5), Gate("brier", at_most=0.2)]
    found = failures(gates, {"auc": 0.6123, "log_loss": 0.7, "brier": 0.2}, rows=1200, data_version="v12")
    assert found == [
        "gate failed: auc 0.6123 is below the required 0.7 (test rows 1200, data version v12)",
        "gate failed: log_loss 0.7000 is above the allowed 0.5 (test rows 1200, data version v12)",
    ]


def test_a_measure_that_is_not_a_number_passes_no_gate() -> None:
    gates = [Gate("auc", at_least=0.0), Gate("auc", at_most=1.0)]
    assert len(failures(gates, {"auc": float("nan")}, rows=1, data_version="v1")) == 2


def test_the_split_is_the_same_for_the_same_seed_and_keeps_the_share_of_positives() -> None:
    labels = np.r_[np.ones(100), np.zeros(900)]
    parts = split(labels, seed=1, test_fraction=0.2)
    np.testing.assert_array_equal(parts, split(labels, seed=1, test_fraction=0.2))
    assert (parts != split(labels, seed=2, test_fraction=0.2)).any()
    assert [int((parts == part).sum()) for part in (TRAIN, VALIDATION, TEST)] == [640, 160, 200]
    assert {float(labels[parts == part].mean()) for part in (TRAIN, VALIDATION, TEST)} == {0.1}


def test_an_id_keeps_its_part_when_more_rows_arrive() -> None:
    ids = [(f"c{number}",) for number in range(500)]
    before = split(np.zeros(500), seed=1, test_fraction=0.3, ids=ids)
    after = split(np.zeros(1000), seed=1, test_fraction=0.3, ids=[("new",)] * 500 + ids)
    np.testing.assert_array_equal(before, after[500:])
    assert 0.2 < float((before == TEST).mean()) < 0.4


def test_versions_are_counted_as_numbers() -> None:
    assert next_version(["9", "10", "2"]) == "11"
    assert next_version([]) == "1"
    assert next_version(["beta"]) == "1"


def test_a_job_finds_the_version_that_it_registered_before() -> None:
    versions = [("1", {"job": "train-a"}), ("2", {"job": "train-b"}), ("3", {})]
    assert registered_by("train-b", versions) == "2"
    assert registered_by("train-c", versions) is None
