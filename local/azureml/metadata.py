"""The cloud's description at ARM_CLOUD_METADATA_URL: by it the SDK learns where everything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.azureml import arm
from local.azureml.call import Answer, Call, Route

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

CLOUD = "LocalCloud"


def routes(emulator: Emulator) -> list[Route]:
    def endpoints(_: Call) -> Answer:
        # The SDK makes the audience of Azure ML out of the portal's host name: portal.azure.local -> https://ml.azure.local.
        cloud = {
            "name": CLOUD,
            "portal": arm.ML_AUDIENCE.replace("https://ml.", "https://portal.") + "/",
            # The SDK picks the cloud whose resourceManager is a part of the metadata URL: the trailing slash matters.
            "resourceManager": f"{emulator.base_url}/",
            "authentication": {
                "loginEndpoint": f"{emulator.base_url}/",
                "audiences": [f"{emulator.base_url}/", *(f"{one}/" for one in arm.ARM_AUDIENCES)],
                "tenant": "common",
            },
            "suffixes": {"storage": "core.local"},
        }
        return Answer([cloud])

    return [Route("GET", "//metadata/endpoints", endpoints, "(cloud look-up of every client)", auth="open")]
