"""The page at the emulator's root: what is in it now, read-only. One static file over the JSON of this package."""

from local.azureml.dashboard.answers import routes

__all__ = ["routes"]
