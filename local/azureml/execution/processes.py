"""All warmed parents of the emulator: one per Python, and a bare one that starts what must not be forked from a warmed one."""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from local.azureml.execution.process_environment import common_environment
from local.azureml.execution.warmed_parent import Launch, Running, WarmedParent

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator


class Processes:
    """Starts the process of a step under the parent that suits it. Thread-safe."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self._emulator, self._folder = emulator, folder
        self._parents: dict[str, WarmedParent] = {}
        self._lock = threading.Lock()

    def start(self, launch: Launch, python: Path) -> Running:
        """Fork a script from the parent of its Python; a shell command from the bare parent, which is small and so forks fast."""
        return self.parent(python if launch.argv else None).start(launch)

    def parent(self, python: Path | None) -> WarmedParent:
        """The parent for a Python; None: the bare one."""
        key = hashlib.sha256(str(python).encode()).hexdigest()[:12] if python else "bare"
        with self._lock:
            if key not in self._parents:
                self._parents[key] = self._new(python, key)
            return self._parents[key]

    def _new(self, python: Path | None, key: str) -> WarmedParent:
        self._folder.mkdir(parents=True, exist_ok=True)
        interpreter = python or Path(sys.executable)
        return WarmedParent(
            interpreter,
            env=common_environment(self._emulator, interpreter),
            log=self._folder / f"{key}.log",
            learned=self._folder / f"{key}.json",
        )

    def warm_known(self, pythons: list[Path]) -> None:
        """Start the parents that already learned something in an earlier life; they import while nobody waits."""
        for python in pythons:
            parent = self.parent(python)
            if parent.learned:
                parent.warm()

    def close(self) -> None:
        with self._lock:
            parents, self._parents = list(self._parents.values()), {}
        for parent in parents:
            parent.close()
