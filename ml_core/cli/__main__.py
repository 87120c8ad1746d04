"""`python -m ml_core.cli status | why | inbox | retrain | replay-window`."""

from __future__ import annotations

import logging
import sys


def main() -> None:
    # The SDKs log each of their tries; the command ends with one line that says why, and this process logs nothing else.
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    try:
        from ml_core.cli.commands import app
    except ModuleNotFoundError as error:
        # They are no requirement of the function app: in Azure nobody types commands.
        if error.name not in ("typer", "rich", "click"):
            raise
        sys.exit(f"The command line needs the packages typer and rich, and {error.name} is missing: pip install typer rich")
    app(prog_name="python -m ml_core.cli")


if __name__ == "__main__":
    main()
