"""What has happened since the last look, in a line each: the terminal view of `make up`."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from local.observe import Endpoint, Job, Observer


class Activity:
    """Compares the world with what it was. `data_assets` are the names whose versions are looked at."""

    def __init__(self, world: Observer, data_assets: list[str]) -> None:
        self._world, self._data_assets = world, data_assets
        self._told: set[str] = set()
        self._first = True

    def news(self) -> list[str]:
        """The lines that were not told yet, in the order of the road; the first look only learns what is there."""
        try:
            lines = [line for line in self._lines() if line not in self._told]
        except httpx.HTTPError as error:
            return [f"no view        {type(error).__name__}: {error}"]
        self._told.update(lines)
        if self._first:
            self._first = False
            return []
        return lines

    def _lines(self) -> Iterator[str]:
        for name in self._data_assets:
            yield from (f"data version   {name}:{version}" for version in self._world.data_versions(name))
        for job in self._world.jobs():
            yield from _of_job(job)
        yield from (f"model          {model.name}:{model.version}  {_metrics(model.tags)}" for model in self._world.models())
        for endpoint in self._world.endpoints():
            yield from _of_endpoint(endpoint)


def _of_job(job: Job) -> Iterator[str]:
    yield f"job            {job.name}: {job.status}"
    yield from (f"  step         {step.name}: {step.status} ({job.name})" for step in job.steps if step.status == "Completed")
    if job.error:
        yield f"  error        {job.error}"


def _of_endpoint(endpoint: Endpoint) -> Iterator[str]:
    for deployment in endpoint.deployments:
        yield f"deployment     {endpoint.name}/{deployment.name}: {deployment.state} ({deployment.model})"
    if endpoint.traffic:
        # The deployments' models tell one ramp from the next.
        models = {deployment.name: deployment.model for deployment in endpoint.deployments}
        shares = ", ".join(f"{name} ({models.get(name, 'gone')}) {weight} %" for name, weight in sorted(endpoint.traffic.items()))
        yield f"traffic        {endpoint.name}: {shares}"


def _metrics(tags: dict[str, str]) -> str:
    return ", ".join(f"{name} {tags[name]}" for name in ("auc", "average_precision", "log_loss") if name in tags)
