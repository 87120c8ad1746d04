"""What two sets of blobs are compared by without holding either: a count and a sum of digests, for each of 64 shards. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

SHARDS = 64
_MODULUS = 1 << 128


def shard_of(path: str) -> int:
    """The shard that a path belongs to."""
    return blake2b(path.encode(errors="surrogatepass"), digest_size=1).digest()[0] % SHARDS


@dataclass(frozen=True)
class Tally:
    """How many blobs there are, and the sum of their digests: the same for the same blobs in any order."""

    files: int = 0
    digest: int = 0


class RunningTally:
    """A tally that is being made. `by_time`: whether a version depends on when its blobs were written."""

    def __init__(self, *, by_time: bool) -> None:
        self._files, self._sum, self._by_time = 0, 0, by_time

    def add(self, path: str, etag: str, size: int, modified_at: datetime, *, marker: bool) -> None:
        """Take one more blob in. Listings tell whole seconds, so that is what counts of its time."""
        written = int(modified_at.timestamp()) if self._by_time else ""
        told = f"{path}\0{etag}\0{size}\0{marker}\0{written}"
        self._files += 1
        self._sum += int.from_bytes(blake2b(told.encode(errors="surrogatepass"), digest_size=16).digest())

    def result(self) -> Tally:
        return Tally(self._files, self._sum % _MODULUS)
