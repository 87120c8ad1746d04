"""How good probabilities are: pure numpy, two arrays in (labels 0/1 and probabilities), numbers out.

AUC, average precision, log loss and Brier score are defined as in scikit-learn's `roc_auc_score`, `average_precision_score`,
`log_loss` and `brier_score_loss`; a test compares them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CALIBRATION_BINS = 10


def summary(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """All measures by name. Both classes must be there."""
    low, high = auc_interval(labels, scores)
    return {
        "auc": auc(labels, scores),
        "auc_low": low,
        "auc_high": high,
        "average_precision": average_precision(labels, scores),
        "log_loss": log_loss(labels, scores),
        "brier": float(np.mean((scores - labels) ** 2)),
        "calibration_error": calibration_error(labels, scores),
        "base_rate": float(np.mean(labels)),
        "mean_score": float(np.mean(scores)),
    }


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one; ties count half."""
    positive = labels == 1
    count, others = int(positive.sum()), int((~positive).sum())
    return float((ranks(scores)[positive].sum() - count * (count + 1) / 2) / (count * others))


def auc_interval(labels: np.ndarray, scores: np.ndarray, *, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of the AUC.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 1988; by ranks as in Sun and Xu, IEEE Signal Processing Letters 2014.
    """
    positive = labels == 1
    count, others = int(positive.sum()), int((~positive).sum())
    if count < 2 or others < 2:
        return 0.0, 1.0
    everywhere = ranks(scores)
    above = (everywhere[positive] - ranks(scores[positive])) / others
    below = 1 - (everywhere[~positive] - ranks(scores[~positive])) / count
    error = float(np.sqrt(above.var(ddof=1) / count + below.var(ddof=1) / others))
    middle = float(above.mean())
    return max(0.0, middle - z * error), min(1.0, middle + z * error)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean precision over the steps of recall, without interpolation."""
    precision, recall = precision_recall(labels, scores)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean negative log likelihood (nats); probabilities are kept 1e-15 away from 0 and 1."""
    clipped = np.clip(scores.astype(np.float64), 1e-15, 1 - 1e-15)
    return float(-np.mean(labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped)))


def calibration(labels: np.ndarray, scores: np.ndarray, bins: int = CALIBRATION_BINS) -> list[dict[str, Any]]:
    """One entry per non-empty bin of equal width over [0, 1]: rows, mean score, and rate of positives."""
    which = np.minimum((scores * bins).astype(int), bins - 1)
    found = []
    for number in range(bins):
        inside = which == number
        if inside.any():
            entry = {"rows": int(inside.sum()), "score": float(scores[inside].mean()), "rate": float(labels[inside].mean())}
            found.append({"from": number / bins, "to": (number + 1) / bins, **entry})
    return found


def rate_interval(rates: np.ndarray, rows: np.ndarray, *, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of rates seen in so many rows (Wilson, JASA 1927): never empty, never outside [0, 1]."""
    middle = (rates + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * np.sqrt(rates * (1 - rates) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Expected calibration error; 0 is perfect.

    The mean of |rate of positives - mean score| over ten bins of equal width, weighted by their rows.
    Source: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    return sum(entry["rows"] * abs(entry["rate"] - entry["score"]) for entry in calibration(labels, scores)) / len(labels)


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> dict[str, Any]:
    """Counts of true and false positives and negatives when scores of at least `threshold` are called positive."""
    called, positive = scores >= threshold, labels == 1
    return {
        "threshold": threshold,
        "true_positives": int((called & positive).sum()),
        "false_positives": int((called & ~positive).sum()),
        "true_negatives": int((~called & ~positive).sum()),
        "false_negatives": int((~called & positive).sum()),
    }


def roc(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(false positive rates, true positive rates) at every distinct score, from (0, 0) to (1, 1)."""
    called, true = _counts(labels, scores)
    false = called - true
    return np.r_[0.0, false / false[-1]], np.r_[0.0, true / true[-1]]


def precision_recall(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(precision, recall) at every distinct score, from the highest score down."""
    called, true = _counts(labels, scores)
    return true / called, true / true[-1]


def _counts(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each distinct score, downwards: how many rows score at least that much, and how many of them are positive."""
    order = np.argsort(-scores, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]
    return last + 1.0, np.cumsum(labels[order], dtype=np.float64)[last]
