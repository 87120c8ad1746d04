"""The host's keys: made once per state folder, readable by their owner alone, never logged."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, repr=False)
class Keys:
    """`master` opens everything, `function` HTTP functions, `eventgrid_extension` the Event Grid webhook."""

    master: str
    function: str
    eventgrid_extension: str

    @classmethod
    def ensure(cls, folder: Path) -> Keys:
        """Read `folder/keys.json` (mode 600); make it on first use."""
        path = folder / "keys.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            keys = cls(*(secrets.token_urlsafe(32) for _ in range(3)))
            fresh = path.with_name(f"keys.{os.getpid()}.tmp")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(asdict(keys), file)
            try:
                os.link(fresh, path)  # the first of two starters wins, the other reads its keys
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return cls(**json.loads(path.read_text()))

    def opens(self, given: str | None, *allowed: str) -> bool:
        """True when `given` is the master key or one of `allowed`; compared in constant time."""
        presented = (given or "").encode()
        matches = [hmac.compare_digest(presented, key.encode()) for key in (self.master, *allowed)]
        return any(matches)
