"""What the emulator does with the bodies that it takes, beside the routes: one row per feature, for the coverage page."""

from __future__ import annotations

FEATURES: tuple[tuple[str, str, str], ...] = (
    # area, feature, difference from Azure ("": none is known)
    (
        "jobs",
        "command jobs",
        "a process of this machine under a local Python; `instance_count` and `distribution` do nothing, and the log says so",
    ),
    (
        "jobs",
        "pipeline jobs: components, inline nodes, nested pipeline components",
        "what reads an output of a nested pipeline waits for the step that makes it, not for the whole pipeline",
    ),
    ("jobs", "control flow nodes: if_else, do_while, parallel_for", "501"),
    (
        "jobs",
        "sweep jobs and sweep nodes (random, sobol, grid, bayesian; bandit, median stopping, truncation selection)",
        "two trials of a sweep at once; bayesian is Optuna's TPE; the best is the best of the trials that completed; "
        "nested choices, `logbase` but e, direct outputs, sobol beyond 10 hyperparameters: 501",
    ),
    ("jobs", "parallel nodes (mini batches, retries, error threshold, append_row)", "worker processes instead of nodes"),
    ("jobs", "spark, automl, import, data transfer, fine tuning", "501"),
    (
        "jobs",
        "reuse of steps (`is_deterministic`, `force_rerun`)",
        "data counts by asset id and URI, not by what the blobs hold",
    ),
    (
        "jobs",
        "`continue_on_step_failure`, `limits.timeout`, `default_compute`",
        "a step over its limit is Canceled, as the REST description says, and its pipeline Failed (not confirmed)",
    ),
    (
        "jobs",
        "inputs at http(s) and wasb(s) addresses outside of the workspace",
        "single files that need no credentials; folders: 501",
    ),
    (
        "jobs",
        "named outputs that register assets, custom output paths with `${{name}}`",
        "of all named outputs of a step none is registered when one cannot be",
    ),
    ("jobs", "identity, services, queue_settings, `shm_size`", "kept, without effect"),
    ("jobs", "`docker_args`", "501: there is no container"),
    ("inputs", "literals in a command", "none: they are put in as they are, so that quoting them is the command's business"),
    ("inputs", "literals, uri_file, uri_folder, mltable, custom_model, mlflow_model, triton_model", ""),
    (
        "inputs",
        "modes mount and download",
        "both are copies or links of what was downloaded; `rw_mount` is written back at the step's end; "
        "`eval_mount` and `eval_download`: 501",
    ),
    ("inputs", "mode direct", "the URI as it is"),
    (
        "inputs",
        "datastore URIs, `azureml://jobs/…`, blobs of the emulator, asset ids and labels",
        "a file at another http(s) address is fetched without credentials; a folder there: 501",
    ),
    ("sampling", "random (also sobol), grid, bayesian", "bayesian is Optuna's TPE sampler"),
    ("early termination", "bandit, median stopping, truncation selection", ""),
    ("environments", "conda file", "a virtual environment that stands for it: `python -m local.azureml environments add`"),
    ("environments", "image without a conda file, curated environments", "the stack's training Python; no image is pulled"),
    ("environments", "Docker build context", "stored; a job that names one is run by the default Python"),
    ("online deployments", "scoring script", "Microsoft's inference server as processes of this machine"),
    ("online deployments", "MLflow models without a script", ""),
    ("online deployments", "request settings: timeout, concurrency, queue", ""),
    (
        "online deployments",
        "probes, instance_count, environment variables, scale settings",
        "instances are processes; autoscale is kept, without effect",
    ),
    ("online deployments", "data collector", "files in the workspace's storage; captureHeaders answers 501"),
    (
        "online deployments",
        "Kubernetes deployments, custom containers, Triton models",
        "501: there is no cluster, no Docker, no Triton server",
    ),
    ("traffic", "weights, mirror, `azureml-model-deployment`", ""),
    (
        "batch deployments",
        "models (mini_batch_size, output_action, error_threshold, retries), MLflow models, pipeline components",
        "MLflow models without a script: CSV and Parquet files, and images for a model of one tensor",
    ),
    ("schedules", "cron, recurrence, time zones, trigger now", "what was due while it was stopped is not made up for"),
    ("schedules", "monitors", "kept and checked, never run"),
    ("computes", "AmlCompute, looked up by jobs", "every job runs on this machine"),
    ("registries", "assets of other places, `share`", "registries of this emulator; `azureml` answers every curated name"),
    ("MLflow", "tracking and artifacts", "a real mlflow server behind the workspace's tracking URI"),
    ("MLflow", "model registry, one with the workspace's models", "prompts and webhooks answer 501; [more](mlflow.md)"),
    ("MLflow", "a job's name as the id of a run", "understood in requests; answers have MLflow's own ids"),
    (
        "events",
        "RunStatusChanged, RunCompleted, ModelRegistered, ModelDeployed",
        "to the Event Grid topic that it was started with",
    ),
)
