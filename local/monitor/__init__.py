"""The Azure Monitor metrics that the app reads."""
