"""The MLflow runs of a job: each below the run of what holds it. What is made up is the tracking server."""

from __future__ import annotations

from collections.abc import Mapping

from local.azureml.execution.tracking import JobTracking, Tracking

NAMES = {"root": "job", "outer": "outer", "inner": "inner", "first": "first", "last": "last"}
PARENTS = {"root": None, "outer": "root", "inner": "outer", "first": "inner", "last": "root"}


class Recorded(Tracking):
    """Remembers what it is asked to make, instead of asking a server."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.made: list[str] = []
        self.parents: dict[str, str | None] = {}

    def create_run(self, experiment: str, name: str, *, parent: str | None, tags: Mapping[str, str]) -> tuple[str, str]:
        self.made.append(name)
        self.parents[f"mlflow-{name}"] = parent
        return experiment, f"mlflow-{name}"

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        assert key == "mlflow.parentRunId"
        self.parents[run_id] = value


def test_every_run_is_below_the_one_that_holds_it_and_steps_that_wait_are_made_first() -> None:
    tracking = Recorded()
    JobTracking(tracking, "e", {}, NAMES, PARENTS).make(["first"])
    assert tracking.made == ["first", "job", "outer", "inner", "last"]
    assert tracking.parents == {
        "mlflow-job": None,
        "mlflow-outer": "mlflow-job",
        "mlflow-inner": "mlflow-outer",
        "mlflow-first": "mlflow-inner",
        "mlflow-last": "mlflow-job",
    }
    tracking.close()


def test_a_command_job_is_one_run_without_a_parent() -> None:
    tracking = Recorded()
    JobTracking(tracking, "e", {}, {"root": "job"}, {"root": None}).make(["root"])
    assert tracking.parents == {"mlflow-job": None}
    tracking.close()
