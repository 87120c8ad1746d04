"""The report's pictures, drawn with matplotlib's Agg canvas alone: pyplot would add its own start-up and global state."""

from __future__ import annotations

from pathlib import Path

import measures
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

BLUE, GREY, PALE, INK = "#1f5f8b", "#8a8f98", "#cfe0ec", "#22262b"
MOST_FEATURES = 15


def draw(folder: Path, labels: np.ndarray, scores: np.ndarray, gain: dict[str, float], title: str) -> list[Path]:
    """Write roc.png, precision_recall.png, calibration.png and feature_gain.png; `title` says model and data version."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _roc(folder / "roc.png", labels, scores, title),
        _precision_recall(folder / "precision_recall.png", labels, scores, title),
        _calibration(folder / "calibration.png", labels, scores, title),
        _gain(folder / "feature_gain.png", gain, title),
    ]


def _roc(path: Path, labels: np.ndarray, scores: np.ndarray, title: str) -> Path:
    figure, axes = _square(title, "ROC curve", "False positive rate", "True positive rate")
    low, high = measures.auc_interval(labels, scores)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="chance")
    axes.plot(
        *measures.roc(labels, scores),
        color=BLUE,
        linewidth=2,
        label=f"AUC {measures.auc(labels, scores):.3f} ({low:.3f} to {high:.3f})",
    )
    axes.legend(loc="lower right", frameon=False)
    return _save(figure, path)


def _precision_recall(path: Path, labels: np.ndarray, scores: np.ndarray, title: str) -> Path:
    figure, axes = _square(title, "Precision and recall", "Recall", "Precision")
    precision, recall = measures.precision_recall(labels, scores)
    average = measures.average_precision(labels, scores)
    axes.axhline(labels.mean(), color=GREY, linewidth=1, linestyle="--", label=f"base rate {labels.mean():.3f}")
    axes.step(recall, precision, where="post", color=BLUE, linewidth=2, label=f"average precision {average:.3f}")
    axes.legend(loc="upper right", frameon=False)
    return _save(figure, path)


def _calibration(path: Path, labels: np.ndarray, scores: np.ndarray, title: str) -> Path:
    figure, axes = _square(title, "Calibration", "Mean score in the bin", "Rate of positives")
    bins = measures.calibration(labels, scores)
    error = measures.calibration_error(labels, scores)
    shares = np.array([entry["rows"] for entry in bins]) / len(labels)
    lefts = [entry["from"] for entry in bins]
    axes.bar(
        lefts, shares, width=1 / measures.CALIBRATION_BINS, align="edge", color=PALE, edgecolor="white", label="share of rows"
    )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect")
    across, rates = [entry["score"] for entry in bins], np.array([entry["rate"] for entry in bins])
    low, high = measures.rate_interval(rates, np.array([entry["rows"] for entry in bins]))
    axes.vlines(across, low, high, color=BLUE, linewidth=1, label="95 % interval")
    axes.plot(across, rates, color=BLUE, linewidth=2, marker="o", markersize=5, label=f"calibration error {error:.3f}")
    axes.legend(loc="upper left", frameon=False)
    return _save(figure, path)


def _gain(path: Path, gain: dict[str, float], title: str) -> Path:
    top = sorted(gain.items(), key=lambda pair: pair[1])[-MOST_FEATURES:]
    total = sum(gain.values()) or 1.0
    figure = Figure(figsize=(7, 1.4 + 0.32 * max(len(top), 3)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh([_short(name) for name, _ in top], [value / total for _, value in top], color=BLUE, height=0.65)
    axes.bar_label(bars, fmt=lambda value: f"{value:.1%}", padding=4, fontsize=9, color=INK)
    axes.set_xlim(0, 1.12 * max((value / total for _, value in top), default=1.0))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _style(axes, title, "What the trees use", "Share of the total gain", "")
    axes.grid(visible=False, axis="y")
    return _save(figure, path)


def _short(name: str) -> str:
    # Longer labels would squeeze the bars until the title no longer fits above them.
    return name if len(name) <= 24 else f"{name[:23]}…"


def _square(title: str, name: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 5.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    _style(axes, title, name, across, up)
    return figure, axes


def _style(axes: Axes, title: str, name: str, across: str, up: str) -> None:
    axes.set_title(name, loc="left", fontsize=13, fontweight="bold", color=INK, pad=22)
    # `parse_math` off: a model's name may hold a dollar sign.
    axes.text(0, 1.02, title, transform=axes.transAxes, fontsize=9, color=GREY, parse_math=False)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(visible=True, color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def _save(figure: Figure, path: Path) -> Path:
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    FigureCanvasAgg(figure).print_png(path)
    return path
