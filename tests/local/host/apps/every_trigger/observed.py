import json
import os
from pathlib import Path
from typing import Any


def observe(what: str, **details: Any) -> None:
    """Append one line to the file that OBSERVED names (a single write: lines of parallel functions do not mix)."""
    with Path(os.environ["OBSERVED"]).open("a") as file:
        file.write(json.dumps({"what": what, **details}) + "\n")
