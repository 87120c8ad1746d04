"""An Azure ML workspace by hand: what takes time takes it, what Azure refuses is refused, and others work in it, too."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ml_core.errors import Conflict, PermanentError
from ml_core.ports import (
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    JobState,
    ModelVersion,
    Question,
    Reply,
    TrainingJob,
)
from tests.fake_clock import FakeClock
from tests.fake_scoring import Scoring

_NEVER = datetime.max.replace(tzinfo=UTC)
_STEP = "tidegate.step"


@dataclass(frozen=True)
class AskedTraffic:
    """A change of traffic that was asked for. `step` is None for somebody else's; `refused` says why Azure would not take it."""

    at: datetime
    endpoint: str
    weights: dict[str, int]
    mirror: dict[str, int]
    step: int | None
    found: EndpointState
    """The endpoint at that moment."""

    refused: str = ""


@dataclass(frozen=True)
class Deleted:
    """A deployment whose end was asked for and accepted."""

    at: datetime
    endpoint: str
    deployment: DeploymentState


@dataclass
class FakeWorkspace:
    """A workspace in which a job takes `training_takes`, and a change of an endpoint `change_takes`."""

    clock: FakeClock
    training_takes: timedelta = timedelta(minutes=10)
    change_takes: timedelta = timedelta(minutes=5)
    reads_lag: timedelta = timedelta(0)
    """An endpoint is told as it was so long ago."""
    training_error: str = ""
    """Not empty: jobs fail with it."""
    deployment_error: str = ""
    """Not empty: new deployments fail with it."""
    change_error: str = ""
    """Not empty: changes of traffic and deletions that begin now end as Failed, and everything is as it was before."""
    hangs: bool = False
    """Changes that begin now do not end before `let_go`."""
    tells_zeros: bool = False
    """Whether a weight of 0 is told: Azure's API does, its SDK does not."""
    scoring_error: str = ""
    """Not empty: deployments refuse to score."""
    scoring: dict[str, Scoring] = field(default_factory=dict)
    """By model, `<name>:<version>`."""
    files: dict[tuple[str, str, str], bytes | None] = field(default_factory=dict)
    """By a model's name, its version and the path. What is not here is as the training pipeline writes it; None: no such file."""

    data: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    data_tags: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    submitted: dict[str, tuple[TrainingJob, datetime]] = field(default_factory=dict)
    models: dict[str, list[ModelVersion]] = field(default_factory=dict)
    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    specs: dict[tuple[str, str], DeploymentSpec] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of endpoints, by name."""
    traffic_history: list[dict[str, int]] = field(default_factory=list)
    """The weights that were asked for, as they were asked for."""
    traffic_asked: list[AskedTraffic] = field(default_factory=list)
    """The same with all that belongs to it, and those that were refused, and somebody else's."""
    deleted: list[Deleted] = field(default_factory=list)
    created: list[tuple[datetime, DeploymentSpec]] = field(default_factory=list)
    """What was asked for and accepted, not by somebody else."""
    answered: set[str] = field(default_factory=set)
    """`created_at` of the deployments that have scored a request of those who ask them directly."""
    _busy_until: dict[str, datetime] = field(default_factory=dict)
    _wanted: dict[str, EndpointState] = field(default_factory=dict)
    _history: dict[str, list[tuple[datetime, EndpointState]]] = field(default_factory=dict)
    _made: int = 0
    _asked: int = 0

    # ---- data, jobs and models ----------------------------------------------------------------------------------------

    def register_data_version(self, name: str, version: str, files: Mapping[str, str], tags: Mapping[str, str]) -> None:
        self.data.setdefault((name, version), dict(files))
        self.data_tags.setdefault((name, version), dict(tags))

    def submit_training(self, job: TrainingJob) -> None:
        if (job.data_asset, job.data_version) not in self.data:
            raise PermanentError(f"Could not submit the job {job.name}: its data does not exist (status 400).")
        self.submitted.setdefault(job.name, (job, self.clock()))

    def job(self, name: str) -> JobState | None:
        if name not in self.submitted:
            return None
        job, submitted_at = self.submitted[name]
        if self.clock() - submitted_at < self.training_takes:
            return JobState(name, "Running")
        if self.training_error:
            return JobState(name, "Failed", self.training_error)
        if self.model_of_job(job.model, name) is None:
            version = str(len(self.models.get(job.model, [])) + 1)
            self.register_model(ModelVersion(job.model, version, {"job": name, "data_version": job.data_version}))
        return JobState(name, "Completed")

    def register_model(self, model: ModelVersion) -> None:
        self.models.setdefault(model.name, []).append(model)

    def model(self, name: str, version: str) -> ModelVersion | None:
        return next((model for model in self.models.get(name, []) if model.version == version), None)

    def model_of_job(self, name: str, job: str) -> ModelVersion | None:
        return max(
            (
                one
                for one in self.models.get(name, [])
                if one.tags.get("job") == job and re.fullmatch("[1-9][0-9]{0,8}", one.version)
            ),
            key=lambda one: int(one.version),
            default=None,
        )

    def model_file(self, name: str, version: str, path: str, *, at_most: int) -> bytes | None:
        if self.model(name, version) is None:
            raise PermanentError(f"Could not read {path} of the model {name}:{version}: there is no such model (status 404).")
        written = (name, version, path) not in self.files
        how = self.scoring.get(f"{name}:{version}", Scoring())
        found = how.file(path) if written else self.files[name, version, path]
        if found is not None and len(found) > at_most:
            raise PermanentError(f"{path} of the model {name}:{version} has {len(found)} bytes, and {at_most} are allowed.")
        return found

    # ---- endpoints ----------------------------------------------------------------------------------------------------

    def endpoint(self, name: str) -> EndpointState | None:
        """As it was `reads_lag` ago."""
        history = self.history(name)
        known = bisect_right(history, self.clock() - self.reads_lag, key=lambda one: one[0])
        if not known:
            return None
        state = history[known - 1][1]
        if not self.tells_zeros:
            return state
        nothing = dict.fromkeys(state.deployments, 0)
        return replace(state, traffic={**nothing, **state.traffic}, mirror={**nothing, **state.mirror})

    def create_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        self._settle(name)
        if name in self.endpoints:
            return
        self.tags[name] = dict(tags)
        self._change(name, EndpointState(name, "Creating"), EndpointState(name, "Succeeded"))

    def create_deployment(self, spec: DeploymentSpec) -> None:
        endpoint = self._existing(spec.endpoint)
        if self.model(spec.model, spec.version) is None:
            raise PermanentError(f"Could not create the deployment {spec.slot}: its model does not exist (status 404).")
        if spec.slot in endpoint.deployments:
            return
        self.specs[spec.endpoint, spec.slot] = spec
        self.created.append((self.clock(), spec))
        creating = DeploymentState(spec.slot, f"{spec.model}:{spec.version}", "Creating", created_at=self._created_at())
        ended = "Failed" if self.deployment_error else "Succeeded"
        created = replace(creating, provisioning_state=ended, error=self.deployment_error)
        self._change(
            spec.endpoint,
            replace(endpoint, deployments={**endpoint.deployments, spec.slot: creating}),
            replace(endpoint, deployments={**endpoint.deployments, spec.slot: created}),
        )

    def set_traffic(
        self,
        endpoint: str,
        weights: Mapping[str, int],
        tags: Mapping[str, str] | None = None,
        *,
        mirror: Mapping[str, int] | None = None,
        step: int = 0,
    ) -> None:
        self._existing(endpoint)
        newest = int(self.tags.get(endpoint, {}).get(_STEP, "0"))
        if step and newest > step:
            raise Conflict(f"Could not set the traffic of {endpoint} in step {step}: step {newest} was taken meanwhile.")
        self._shift(endpoint, weights, mirror or {}, step)
        self.traffic_history.append(dict(weights))
        self.tags.setdefault(endpoint, {}).update({**(tags or {}), **({_STEP: str(step)} if step else {})})

    def delete_deployment(self, endpoint: str, name: str, *, model: str = "") -> None:
        found = self._existing(endpoint)
        if model and name in found.deployments and found.deployments[name].model != model:
            raise Conflict(f"Could not delete the deployment {name}: it holds {found.deployments[name].model} and not {model}.")
        if found.traffic.get(name) or found.mirror.get(name):
            raise PermanentError(f"Could not delete the deployment {name}: it has traffic (status 400).")
        if name in found.deployments:
            self.deleted.append(Deleted(self.clock(), endpoint, found.deployments[name]))
            rest = {slot: state for slot, state in found.deployments.items() if slot != name}
            deleting = {**rest, name: replace(found.deployments[name], provisioning_state="Deleting")}
            failed = {**rest, name: replace(found.deployments[name], provisioning_state="Failed", error=self.change_error)}
            then = failed if self.change_error else rest
            self._change(endpoint, replace(found, deployments=deleting), replace(found, deployments=then))

    # ---- those who ask ------------------------------------------------------------------------------------------------

    def ask(self, endpoint: str, questions: Sequence[Question], timeout: timedelta) -> list[Reply]:
        self._settle(endpoint)
        if endpoint not in self.endpoints:
            raise PermanentError(f"There is no endpoint {endpoint} (status 404).")
        return [self._reply(self.endpoints[endpoint], question, timeout) for question in questions]

    def _reply(self, endpoint: EndpointState, question: Question, timeout: timedelta) -> Reply:
        deployment = endpoint.deployments.get(question.deployment)
        if deployment is None or deployment.provisioning_state != "Succeeded":
            return Reply(404, 0.001, error=f"there is no deployment {question.deployment} that could answer")
        how = self.scoring.get(deployment.model, Scoring())
        self._asked += 1
        if how.seconds > timeout.total_seconds():
            return Reply(0, timeout.total_seconds(), error=f"no answer within {timeout.total_seconds():g} s")
        if self.scoring_error or (how.fails_every and self._asked % how.fails_every == 0):
            return Reply(424, how.seconds, error=self.scoring_error or "the model failed")
        self.answered.add(deployment.created_at)
        return Reply(200, how.seconds, {"scores": how.scores(question.request), "model": deployment.model})

    # ---- what others do -----------------------------------------------------------------------------------------------

    def somebody_sets_traffic(
        self, endpoint: str, weights: Mapping[str, int], mirror: Mapping[str, int] | None = None, *, drops_tags: bool = False
    ) -> None:
        """In the portal, or by an old client: without a mirror it silently removes the one that was set."""
        self._existing(endpoint)
        self._shift(endpoint, weights, mirror or {}, None)
        if drops_tags:
            self.tags[endpoint] = {}

    def somebody_deletes(self, endpoint: str, slot: str) -> None:
        """A deployment that takes no traffic is gone at once."""
        found = self._existing(endpoint)
        if found.traffic.get(slot) or found.mirror.get(slot):
            raise PermanentError(f"Could not delete the deployment {slot}: it has traffic (status 400).")
        rest = {name: state for name, state in found.deployments.items() if name != slot}
        self._is_now(endpoint, replace(found, deployments=rest))

    def somebody_makes_anew(self, endpoint: str, slot: str, model: str) -> None:
        """A deployment is replaced by one of the same name, whatever traffic it takes."""
        found = self._existing(endpoint)
        made = DeploymentState(slot, model, "Succeeded", created_at=self._created_at())
        self._is_now(endpoint, replace(found, deployments={**found.deployments, slot: made}))

    def let_go(self) -> None:
        """Changes that hang come to their end now."""
        self._busy_until = {name: min(until, self.clock()) for name, until in self._busy_until.items()}

    def busy(self, endpoint: str) -> bool:
        """Whether a change is under way; everybody else's is refused with 409."""
        self._settle(endpoint)
        return endpoint in self._wanted

    # ---- for assertions -----------------------------------------------------------------------------------------------

    def serving(self, endpoint: str) -> dict[str, str]:
        """The traffic by model, in words that a test can compare: {"flight-delay:1": "blue 100 %"}."""
        self._settle(endpoint)
        found = self.endpoints.get(endpoint)
        if found is None:
            return {}
        return {found.deployments[slot].model: f"{slot} {weight} %" for slot, weight in sorted(found.traffic.items())}

    def history(self, endpoint: str) -> list[tuple[datetime, EndpointState]]:
        """How an endpoint has been until now, and since when, whatever was told to those who read."""
        self._settle(endpoint)
        return self._history.get(endpoint, [])

    # ---- within -------------------------------------------------------------------------------------------------------

    def _existing(self, endpoint: str) -> EndpointState:
        self._settle(endpoint)
        if endpoint not in self.endpoints:
            raise PermanentError(f"There is no endpoint {endpoint} (status 404).")
        if endpoint in self._wanted:
            raise Conflict(f"The endpoint {endpoint} is being changed (status 409).")
        return self.endpoints[endpoint]

    def _shift(self, endpoint: str, weights: Mapping[str, int], mirror: Mapping[str, int], step: int | None) -> None:
        found = self.endpoints[endpoint]
        wrong = _wrong_with(found, weights, mirror)
        self.traffic_asked.append(AskedTraffic(self.clock(), endpoint, dict(weights), dict(mirror), step, found, wrong))
        if wrong:
            raise PermanentError(f"Could not set the traffic of {endpoint}: {wrong} (status 400).")
        traffic, mirrored = ({name: weight for name, weight in one.items() if weight} for one in (weights, mirror))
        changed = replace(found, provisioning_state="Succeeded", traffic=traffic, mirror=mirrored)
        failed = replace(found, provisioning_state="Failed")
        self._change(endpoint, replace(found, provisioning_state="Updating"), failed if self.change_error else changed)

    def _change(self, name: str, meanwhile: EndpointState, then: EndpointState) -> None:
        self._is_now(name, meanwhile)
        self._wanted[name] = then
        self._busy_until[name] = _NEVER if self.hangs else self.clock() + self.change_takes
        self._settle(name)

    def _settle(self, name: str) -> None:
        if name in self._wanted and self.clock() >= self._busy_until[name]:
            self._is_now(name, self._wanted.pop(name), since=self._busy_until[name])

    def _is_now(self, name: str, state: EndpointState, since: datetime | None = None) -> None:
        self.endpoints[name] = state
        self._history.setdefault(name, []).append((since or self.clock(), state))

    def _created_at(self) -> str:
        self._made += 1
        return (self.clock() + timedelta(microseconds=self._made)).isoformat()


def _wrong_with(endpoint: EndpointState, weights: Mapping[str, int], mirror: Mapping[str, int]) -> str:
    """What Azure would not accept of it; '' when nothing."""
    if sum(weights.values()) not in (0, 100) or any(type(weight) is not int or weight < 0 for weight in weights.values()):
        return f"{dict(weights)} are not whole numbers that sum to 0 or 100"
    for name, weight in [*weights.items(), *mirror.items()]:
        if weight and name not in endpoint.deployments:
            return f"there is no deployment {name}"
        state = endpoint.deployments[name].provisioning_state if weight else "Succeeded"
        if state != "Succeeded" and endpoint.traffic.get(name) != weight:
            return f"the provisioning state of {name} is {state}"
    shares = {name: share for name, share in mirror.items() if share}
    live = any(weights.get(name) for name in shares)
    if live or len(shares) > 1 or any(type(share) is not int or not 0 < share <= 50 for share in shares.values()):
        return f"{shares} cannot be mirrored beside {dict(weights)}"
    return ""
