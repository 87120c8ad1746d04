"""What must hold when a story has come to rest. Each finding is a sentence; none means that it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from local.observe import Job
from tests.chaos.world import World

ENDED = ("Completed", "Failed", "Canceled")


def unrest(world: World) -> list[str]:
    """What is still under way, or was forgotten: it must become empty by itself."""
    found = [*lost(world), *left(world)]
    jobs = world.jobs()
    found += [f"the job {job.name} is {job.status}" for job in jobs if job.status not in ENDED]
    trained = {(job.tags.get("tidegate.model"), job.tags.get("tidegate.data_version")) for job in jobs}
    for asset in world.assets:
        newest = world.pointed_at(asset)
        found += [
            f"{model} was not trained on {asset.name}:{newest}"
            for model, learns_from in world.models.items()
            if newest and learns_from == asset.name and (model, newest) not in trained
        ]
    for name, request in world.ledger("training-requests/").items():
        if not request["answered_by"]:
            found.append(f"{name} is not answered")
    return found


def lost(world: World) -> list[str]:
    """Every committed blob is in exactly one current manifest, as it is now; and no manifest names anything else."""
    found: list[str] = []
    for asset in world.assets:
        version, files = world.pointed_at(asset), world.files(asset)
        named = world.manifest(asset, version) if version else []
        found += [f"{asset.name}:{version} lacks {url} ({etag})" for url, etag in files.items() if (url, etag) not in set(named)]
        found += [
            f"{asset.name}:{version} names {url} ({etag}), which is not there"
            for url, etag in dict.fromkeys(named)
            if files.get(url) != etag
        ]
    return found


def failed(world: World) -> list[str]:
    """Training fails only when the emulator is killed, and its jobs with it."""
    return [
        f"the job {name} failed: {error}"
        for name, error in world.failures().items()
        if "The emulator was stopped while this job was running" not in error
    ]


def left(world: World) -> list[str]:
    """No message is left, in no queue and on no way to one; nothing waits for a person."""
    found = ["Event Grid has events to deliver"] if world.undelivered() else []
    for queue, count in world.messages().items():
        # A data asset's next look is a message that waits for its time: one for each.
        looks = len(world.assets) if queue == "tidegate-data-assets" else 0
        if count > looks:
            found.append(f"{queue} holds {count} messages")
    found += [f"{name} is a dead letter" for name in world.dead_letters()]
    found += [f"{name} waits to be answered" for name in world.ledger("training-queue/")]
    found += [f"{name}: {item['error']}" for name, item in world.ledger("inbox/").items() if item["status"] == "open"]
    return found


def doubled(world: World) -> list[str]:
    """No blob twice in a manifest, no content in two versions, no version registered or cause trained twice, no model of one job
    twice. What the ledger says was done is what the workspace has."""
    jobs = world.jobs()
    found = [*_arrivals(world), *_versions(world), *_jobs(world, jobs)]
    makers = Counter((model.name, model.tags.get("job", "")) for model in world.registered_models())
    return found + [f"{job} registered {count} versions of {model}" for (model, job), count in makers.items() if count > 1]


def _arrivals(world: World) -> Iterable[str]:
    """A written blob is taken in once, however often it is told."""
    for asset in world.assets:
        taken_in: Counter[tuple[str, str]] = Counter()
        for window in world.ledger(f"windows/{asset.name}/").values():
            receipts = [receipt for bundle in window["receipts"].values() for receipt in bundle]
            taken_in.update((one["path"], one["etag"]) for one in receipts if one["outcome"] in ("new", "replaced"))
        yield from (f"{asset.name} took in {path} ({etag}) {n} times" for (path, etag), n in taken_in.items() if n > 1)


def _versions(world: World) -> Iterable[str]:
    in_use: Counter[str] = Counter()
    for asset in world.assets:
        versions, current = world.versions(asset), world.pointed_at(asset)
        noted = {name.rsplit("/", 1)[1].removesuffix(".json") for name in world.ledger(f"data-versions/{asset.name}/")}
        yield from (f"{asset.name}:{one} is not the same in ledger and workspace" for one in noted ^ set(versions))
        contents: Counter[tuple[tuple[str, str], ...]] = Counter()
        for version in versions:
            named = world.manifest(asset, version)
            contents[tuple(sorted(named))] += 1
            urls = Counter(url for url, _ in named)
            yield from (f"{asset.name}:{version} names {url} {count} times" for url, count in urls.items() if count > 1)
            if version == current:
                in_use.update(urls)
        yield from (f"{asset.name} has {count} versions of the same content" for count in contents.values() if count > 1)
    yield from (f"{url} is in {count} current manifests" for url, count in in_use.items() if count > 1)


def _jobs(world: World, jobs: list[Job]) -> Iterable[str]:
    notes = {name.rsplit("/", 1)[1].removesuffix(".json"): note for name, note in world.ledger("training-jobs/").items()}
    yield from (f"the job {name} is not the same in ledger and workspace" for name in set(notes) ^ {job.name for job in jobs})
    trained = Counter(
        # Data is a cause of its own with each version; every other cause has a name that is used once.
        (note["model"], cause["cause"], note["data_version"] if cause["cause"] == "data" else "")
        for note in notes.values()
        for cause in note["causes"]
    )
    for (model, cause, version), count in trained.items():
        if count > 1:
            yield f"{model} was trained {count} times because of {cause} {version}"
