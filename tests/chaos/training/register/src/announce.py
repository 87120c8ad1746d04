"""Registers the model of this job by the product's own code, but without saying what it learned from.

So the training finds its model, and the rollout refuses it: this story ends before anything is deployed.
"""

from __future__ import annotations

import argparse
import os

from register import pipeline_job, register, workspace
from step import run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="that of the step before: this one waits for it")
    parser.add_argument("--model_name", required=True)
    arguments = parser.parse_args()
    job = pipeline_job(os.environ)
    version = register(workspace(os.environ), arguments.model_name, job, {"job": job})
    print(f"registered {arguments.model_name}:{version}", flush=True)  # noqa: T201 - the log of the step


if __name__ == "__main__":
    run("register", main)
