"""The emulator of the tests of online endpoints: its pace is in their hand, and a second of a probe is a quarter of one."""

from __future__ import annotations

from pathlib import Path

from local.azureml.emulator import EmulatorSettings
from local.storage.azurite import Azurite
from tests.local.azureml.scoring_assets import Gated

PACE = Gated()


def settings(state: Path, azurite: Azurite) -> EmulatorSettings:
    return EmulatorSettings.on_free_ports(
        state,
        azurite.blob_url,
        pace=PACE,
        probe_second=0.25,
        check_answers=True,
        # Nobody listens there: the events stay in the outbox, where a test can read them.
        event_topic_url="https://127.0.0.1:1/api/events",
    )
