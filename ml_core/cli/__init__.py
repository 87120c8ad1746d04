"""The command line of the one on call: `python -m ml_core.cli`. The same code as the function app, on the same settings."""
