"""`python -m local.eventgrid --state DIR`: the Event Grid emulator as its own process, plain http on 127.0.0.1."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from local.eventgrid.app import create_app
from local.eventgrid.dead_letters import DeadLetters
from local.eventgrid.grid import GridSettings
from local.eventgrid.policy import Chaos, DeliveryPolicy
from local.eventgrid.store import Store
from local.identity import TokenIssuer
from local.processes import free_port
from local.storage.blob_rest import BlobService


def main(
    state: Annotated[Path, typer.Option(help="Folder for eventgrid.sqlite and, without --identity-key, a token key.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 5046,
    time_scale: Annotated[float, typer.Option(min=1e-6, help="Multiplies every wait: 0.01 turns 10 s into 100 ms.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Seed of the jitter, for repeatable runs.")] = None,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds to wait for a webhook's answer (never scaled).")] = 30.0,
    blob_url: Annotated[str | None, typer.Option(help="Blob service for dead letters, such as Azurite's.")] = None,
    identity_key: Annotated[Path | None, typer.Option(help="Key file of the stack's token issuer.")] = None,
    ca: Annotated[Path | None, typer.Option(help="CA bundle for the blob service; otherwise SSL_CERT_FILE.")] = None,
    chaos: Annotated[str, typer.Option(help="Disturb deliveries: seed=7,duplicate=0.3,delay=2,reorder=0.2,drop=0.1.")] = "",
) -> None:
    """Run the Event Grid emulator until it is told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs webhook URLs, and they hold function keys
    policy = _policy(chaos)
    port = port or free_port()
    issuer = TokenIssuer(identity_key or state / "token.key")
    settings = GridSettings(f"http://127.0.0.1:{port}", time_scale, seed, timeout)
    dead_letters = DeadLetters(lambda url: BlobService(url, issuer, ca=ca), blob_url)
    app = create_app(settings, Store(state / "eventgrid.sqlite"), dead_letters, policy)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def _policy(chaos: str) -> DeliveryPolicy | None:
    """None delivers every event once and at once."""
    try:
        return Chaos.parse(chaos) if chaos else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--chaos") from None


if __name__ == "__main__":
    typer.run(main)
