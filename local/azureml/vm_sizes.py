"""What a location offers: a few of Azure's machine sizes with their real numbers, and how much of them is in use (nothing is)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from local.azureml import arm
from local.azureml.call import Answer, Call, Route
from local.azureml.operations import LOCATION

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

# name, family, virtual CPUs, GPUs, memory (GB), temporary disk (MB); sizes of Azure's documentation.
_SIZES = (
    ("Standard_DS2_v2", "standardDSv2Family", 2, 0, 7, 14_336),
    ("Standard_DS3_v2", "standardDSv2Family", 4, 0, 14, 28_672),
    ("Standard_DS4_v2", "standardDSv2Family", 8, 0, 28, 57_344),
    ("Standard_DS5_v2", "standardDSv2Family", 16, 0, 56, 114_688),
    ("Standard_F2s_v2", "standardFSv2Family", 2, 0, 4, 16_384),
    ("Standard_F4s_v2", "standardFSv2Family", 4, 0, 8, 32_768),
    ("Standard_E4s_v3", "standardESv3Family", 4, 0, 32, 65_536),
    ("Standard_NC6s_v3", "standardNCSv3Family", 6, 1, 112, 344_064),
)
NAME = re.compile(r"Standard_[A-Za-z0-9_-]+", re.IGNORECASE)
"""How every size is called; which of them a location has is not asked."""
_LIMIT = 100
"""Of virtual CPUs per family, as a number to show: the emulator counts none."""


def routes(emulator: Emulator) -> list[Route]:
    def sizes(_: Call) -> Answer:
        return Answer({"value": [_size(*size) for size in _SIZES]})

    def usages(call: Call) -> Answer:
        return arm.page(emulator, call, [_usage(emulator, family) for family in dict.fromkeys(size[1] for size in _SIZES)])

    folder = f"//subscriptions/{emulator.settings.subscription_id}/providers/Microsoft.MachineLearningServices/locations"
    few = "a few sizes, the same in every location; a cluster may name any other"
    none = f"the emulator has no quota: nothing is ever in use, and the limit shown is always {_LIMIT}"
    return [
        Route("GET", f"{folder}/{{location}}/vmSizes", sizes, "compute.list_sizes", few),
        Route("GET", f"{folder}/{{location}}/usages", usages, "compute.list_usage", none),
    ]


def _size(name: str, family: str, cpus: int, gpus: int, memory: int, disk: int) -> dict[str, object]:
    return {
        "name": name,
        "family": family,
        "vCPUs": cpus,
        "gpus": gpus,
        "osVhdSizeMB": 1_047_552,
        "maxResourceVolumeMB": disk,
        "memoryGB": memory,
        "lowPriorityCapable": True,
        "premiumIO": True,
        "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
    }


def _usage(emulator: Emulator, family: str) -> dict[str, object]:
    subscription = f"/subscriptions/{emulator.settings.subscription_id}"
    return {
        "id": f"{subscription}/providers/Microsoft.MachineLearningServices/locations/{LOCATION}/usages/{family}",
        "amlWorkspaceLocation": LOCATION,
        "type": "Microsoft.MachineLearningServices/usages",
        "unit": "Count",
        "currentValue": 0,
        "limit": _LIMIT,
        "name": {"value": family, "localizedValue": f"{family} vCPUs"},
    }
