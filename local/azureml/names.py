"""What names may look like that come from outside: they become folders, blobs, parts of ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from local.azureml.errors import bad_request

_WORDS = {"-": "'-'", "_": "'_'", ".": "'.'"}


@dataclass(frozen=True)
class NameRule:
    """ASCII letters and digits and some signs, the first a letter or digit: no name is `..`, none holds a slash."""

    signs: str = "-_"
    shortest: int = 1
    longest: int = 255

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        rest = f"{{{self.shortest - 1},{self.longest - 1}}}"
        return re.compile(rf"[a-zA-Z0-9][a-zA-Z0-9{re.escape(self.signs)}]{rest}")

    def admits(self, name: str) -> bool:
        return self._pattern.fullmatch(name) is not None

    def check(self, name: str, what: str) -> None:
        """400 for a name that does not follow the rule; `what` is "job name", "version of a model"."""
        if not self.admits(name):
            *first, last = ("letters", "digits", *(_WORDS[sign] for sign in self.signs))
            raise bad_request(
                f"'{name[:64]}' is not a valid {what}: {self.shortest} to {self.longest} {', '.join(first)} and {last}, "
                "the first a letter or digit.",
                "ValidationError",
            )


def check_inside(path: str, what: str) -> str:
    """The path of a file that lies below some folder, whatever that is; 400 when it is none or leads out of the folder."""
    parts = PurePosixPath(path)
    if not parts.name or parts.is_absolute() or ".." in parts.parts:
        raise bad_request(f"{what} '{path}' must be a path inside of the code folder.")
    return str(parts)


PLAIN, DOTTED = NameRule(), NameRule("-_.")
"""Azure's REST description has the first for assets; the service takes dots too in the names of models and environments."""
