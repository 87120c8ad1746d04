"""MLflow as the workspace serves it: a real server for tracking and artifacts, and a registry that is the workspace's models."""

from __future__ import annotations

from local.azureml.mlflow.server import MlflowServer

__all__ = ["MlflowServer"]
