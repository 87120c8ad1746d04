"""Which version a job's model gets. A job registers one version, however often its step runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def registered_by(job: str, versions: Iterable[tuple[str, Mapping[str, str]]]) -> str | None:
    """The version among (version, tags) that `job` registered before, or None."""
    return next((version for version, tags in versions if tags.get("job") == job), None)


def next_version(versions: Iterable[str]) -> str:
    """One more than the highest whole number; as text, "9" would come after "10". Other names are passed over."""
    return str(1 + max((int(version) for version in versions if version.isdecimal()), default=0))
