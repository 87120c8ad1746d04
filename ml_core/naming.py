"""Names are the idempotency keys: the same cause always gets the same name, so doing a thing twice is doing it once.

Only the standard library is imported: the pipeline's first step carries a copy of this file to check a data version's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable

SLOTS = ("blue", "green")

# Azure ML: letters, digits, '-' and '_', starting with a letter or digit; a job's name may have 255 characters.
_NOT_IN_A_JOB_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_JOB_NAME = 255
_MODEL_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def unquoted(etag: str) -> str:
    """The eTag without its quotes: events carry it bare, HTTP headers quoted, some samples even both."""
    return etag.strip().removeprefix("W/").strip('"')


def data_version(blobs: Iterable[tuple[str, str, int]]) -> str:
    """Name a data version by its content: `blobs` are (url, eTag, size in bytes), in any order.

    'v' and the first 16 hex digits of the SHA-256 over the sorted list as compact JSON. Times stay out: two
    people who register the same blobs must get the same version.
    """
    manifest = sorted([url, unquoted(etag), size] for url, etag, size in blobs)
    return "v" + hashlib.sha256(json.dumps(manifest, separators=(",", ":")).encode()).hexdigest()[:16]


def training_job(model: str, version: str, *causes: str) -> str:
    """`train-<model>-<data version>`, with its causes behind it, joined by '_', unless it is the data alone.

    What Azure would not take of it is replaced or cut, and a fingerprint of the whole stands in for it: no two share a name.
    """
    name = f"train-{model}-{version}" + ("" if causes == ("data",) else f"-{'_'.join(causes)}")
    accepted = _NOT_IN_A_JOB_NAME.sub("-", name)
    if accepted == name and len(name) <= _LONGEST_JOB_NAME and not any("_" in cause for cause in causes):
        return name
    return f"{accepted[: _LONGEST_JOB_NAME - 33]}-{fingerprint(model, version, *causes)}"


def is_job_name(text: str) -> bool:
    """Whether Azure ML accepts it as the name of a job."""
    return 0 < len(text) <= _LONGEST_JOB_NAME and not _NOT_IN_A_JOB_NAME.search(text)


def is_model_version(text: str) -> bool:
    """Whether it is a version as the pipeline registers them: 1, 2, … without leading zeros, in ASCII digits."""
    return _MODEL_VERSION.fullmatch(text) is not None


def idle_slot(stable: str | None) -> str:
    """The slot a candidate goes to: blue first, then whichever does not serve."""
    return SLOTS[1] if stable == SLOTS[0] else SLOTS[0]


def fingerprint(*parts: str) -> str:
    """A short name for things whose own names are too long or too strange for a path (urls, event ids)."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
