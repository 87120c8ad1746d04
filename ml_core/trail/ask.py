"""What is meant by a text that somebody has typed, and the trail of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from itertools import islice
from urllib.parse import quote

from ml_core.addresses import account_url, blob_address
from ml_core.errors import EventError
from ml_core.events import BlobCreated, BlobDeleted, Event, ModelRegistered, RunStatusChanged, parse_all
from ml_core.inbox import Item
from ml_core.naming import is_model_version
from ml_core.reconciling import DATA_ASSETS, JOBS, MODELS, ROLLOUTS
from ml_core.services import Services
from ml_core.trail import data, events, rollouts, training
from ml_core.trail.values import Chapter, NothingKnown, Trail, some, trail

_VERSION = re.compile("v[0-9a-f]{1,16}")
_WINDOW = re.compile("[A-Za-z0-9_-]+-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
# Jobs are searched for a correlation id that is no window's: those of one model, and not for ever.
_JOBS_SEARCHED = 500


def why(services: Services, text: str) -> Trail:
    """The trail of a blob (its url, or container/path), a job, a model or a version of it, a data asset or a version of it, an
    endpoint, an event's id or a correlation id. Raises NothingKnown, with what was perhaps meant."""
    wanted = text.strip()
    kind, _, name = wanted.partition("/")
    readings = [(reading, wanted) for reading in _READINGS.values()]
    if kind in _READINGS and name:
        readings.insert(0, (_READINGS[kind], name))
    for reading, meant in readings:
        found = reading(services, meant)
        if found is not None:
            return found
    raise NothingKnown(_not_found(services, wanted))


def trail_of_item(services: Services, item: Item) -> Trail:
    """What is known of the thing that an item is about. It may have been done meanwhile, by another event or a timer."""
    told = Chapter()
    kind, _, name = item.key.partition("/")
    if item.key and (reading := _READINGS.get("endpoints" if kind == ROLLOUTS else kind)) and (found := reading(services, name)):
        return found
    for _, event in parse_all(item.payload) if not item.key else ():
        told += _event_told(services, event)
    return trail("inbox item", f"what the item {item.id} is about", told)


def _event_told(services: Services, event: Event | EventError) -> Chapter:
    if isinstance(event, EventError):
        return Chapter(ends=(f"nothing was done for it, since nobody can read it: {event}",))
    if isinstance(event, BlobCreated | BlobDeleted):
        asset = services.config.asset_of(event.container, event.path)
        if asset is None:
            return Chapter(ends=(data.not_watched(services, event.container, event.path),))
        return data.blob_told(services, asset, event.path)
    if isinstance(event, ModelRegistered) and event.model in services.config.models and is_model_version(event.version):
        return rollouts.version_told(services, event.model, event.version)
    if isinstance(event, RunStatusChanged) and training.noted_job(services, event.run_id):
        return training.job_told(services, event.run_id)
    return Chapter(ends=("it is about nothing that Tidegate knows",))


def _blob(services: Services, text: str) -> Trail | None:
    """A blob by its url, or as container/path. A query (a shared access signature) is never looked at or shown."""
    if "://" in text:
        try:
            address = blob_address(text)
        except ValueError as error:
            raise NothingKnown(
                f"{str(error)[:200]}; expected https://<account>.blob.core.windows.net/<container>/<path>."
            ) from error
        if address.account_url != account_url(services.data_account_url):
            end = f"it lies in another storage account than the watched one, {services.data_account_url}: its events are refused"
            kept = events.kept(services, address.url) + events.kept(services, text)
            return trail("blob", address.url, Chapter(ends=(end,)) + kept)
        container, path = address.container, address.path
    else:
        container, _, path = text.partition("/")
        watched = {asset.container for asset in services.config.data_assets.values()} | services.own_containers
        if not path or container not in watched:
            return None
    asset = services.config.asset_of(container, path)
    if container in services.own_containers or asset is None:
        told = Chapter(ends=(data.not_watched(services, container, path),))
    else:
        told = data.blob_told(services, asset, path) + events.kept_work(services, f"{DATA_ASSETS}/{asset}")
    for spelled in dict.fromkeys((f"/{container}/{path}", f"/{container}/{quote(path)}")):
        told += events.kept(services, f'{spelled}"')
    return trail("blob", f"{path} of the container {container}" + (f" (data asset {asset})" if asset else ""), told)


def _window(services: Services, text: str) -> Trail | None:
    """A window by its id, which is the correlation id of all that followed; or jobs that share another correlation id."""
    if _WINDOW.fullmatch(text):
        for asset in services.config.data_assets:
            if text.startswith(f"{asset}-") and services.ledger.get(f"windows/{asset}/{text}.json"):
                return trail("window", f"the window {text} of the data asset {asset}", data.window_told(services, asset, text))
    told = Chapter()
    for job in _jobs_of_correlation(services, text):
        told += training.job_told(services, job)
    return trail("correlation", f"the correlation id {text}", told) if told.steps else None


def _jobs_of_correlation(services: Services, text: str) -> Iterator[str]:
    for model in services.config.models:
        if not text.startswith(f"{model}-"):
            continue
        for key in islice(services.ledger.keys(f"{JOBS}/train-{model}-"), _JOBS_SEARCHED):
            entry = services.ledger.get(key)
            if entry and entry.value.get("correlation_id") == text:
                yield key.removeprefix(f"{JOBS}/").removesuffix(".json")


def _asset(services: Services, text: str) -> Trail | None:
    """A data asset, or `asset:version`, where the beginning of the version will do."""
    asset, _, version = text.partition(":")
    if asset not in services.config.data_assets:
        return None
    if not version:
        told = data.asset_told(services, asset) + events.kept_work(services, f"{DATA_ASSETS}/{asset}")
        return trail("data asset", f"the data asset {asset}", told)
    folder = f"data-versions/{asset}/"
    keys = list(services.ledger.keys(f"{folder}{version}")) if _VERSION.fullmatch(version) else []
    if len(keys) > 1:
        raise NothingKnown(f"More than one version of {asset} starts with {version}; write more of it.")
    if not keys:
        return None
    whole = keys[0].removeprefix(folder).removesuffix(".json")
    return trail("data version", f"version {whole} of the data asset {asset}", data.version_told(services, asset, whole))


def _job(services: Services, text: str) -> Trail | None:
    note = training.noted_job(services, text)
    if note is None:
        return None
    told = _origin(services, str(note["model"]), str(note["data_version"])) + training.job_told(services, text)
    return trail("job", f"the training job {text}", told)


def _model(services: Services, text: str) -> Trail | None:
    """A model, or `model:version`."""
    model, _, version = text.rpartition(":") if ":" in text else (text, "", "")
    if model not in services.config.models:
        return None
    if not version:
        told = training.model_told(services, model)
        for key in (f"{MODELS}/{model}", f"{ROLLOUTS}/{services.config.models[model].endpoint.name}"):
            told += events.kept_work(services, key)
        return trail("model", f"the model {model}", told)
    if not is_model_version(version):
        return None
    told = _version_from_its_data(services, model, version)
    return trail("model version", f"version {version} of the model {model}", told)


def _endpoint(services: Services, text: str) -> Trail | None:
    if services.config.model_at(text) is None:
        return None
    told = rollouts.endpoint_told(services, text)
    for model, version in rollouts.versions_at(services, text):
        told += _version_from_its_data(services, model, version)
    return trail("endpoint", f"the endpoint {text}", told + events.kept_work(services, f"{ROLLOUTS}/{text}"))


def _event(services: Services, text: str) -> Trail | None:
    told = events.event_told(services, text)
    return trail("event", f"the event {text}", told) if told.steps else None


def _version_from_its_data(services: Services, model: str, version: str) -> Chapter:
    """A model version from the windows of its data on."""
    found = services.workspace.model(model, version)
    job = found.tags.get("job", "") if found else ""
    note = training.noted_job(services, job)
    told = _origin(services, model, str(note["data_version"])) + training.job_told(services, job) if note else Chapter()
    return told + rollouts.version_told(services, model, version)


def _origin(services: Services, model: str, version: str) -> Chapter:
    """Where a job's data came from: the steps of its version, without what else was made of it."""
    if model not in services.config.models:
        return Chapter()
    return data.version_steps(services, services.config.models[model].data_asset, version)


def _not_found(services: Services, text: str) -> str:
    config = services.config
    names = [*config.data_assets, *config.models, *(model.endpoint.name for model in config.models.values())]
    meant = get_close_matches(text.partition(":")[0].rpartition("/")[2], names, n=1)
    perhaps = f" Was {meant[0]!r} meant?" if meant else ""
    container, _, path = text.partition("/")
    if path and container not in _READINGS and "://" not in text:
        watched = some(sorted({asset.container for asset in config.data_assets.values()}))
        perhaps += f" If it is a blob: no data asset watches a container {container[:63]!r}; watched are {watched}."
    return (
        f"Nothing is known of {text[:200]!r}.{perhaps} Ask about a blob's url or container/path, a job, a model or "
        f"model:version, a data asset or asset:version, an endpoint, an event's id or a correlation id "
        f"(of events about files, the newest {events.WINDOWS_SEARCHED} windows and each file's last ten arrivals are searched)."
    )


# What may stand before a name, with a slash, where the name alone could mean several things (`endpoints/churn`), in the
# order in which a bare text is tried: what is told apart by its form, then by the ledger, then names, then anything.
_READINGS: dict[str, Callable[[Services, str], Trail | None]] = {
    "blobs": _blob,
    "windows": _window,
    "training-jobs": _job,
    "models": _model,
    "endpoints": _endpoint,
    "data-assets": _asset,
    "events": _event,
}
