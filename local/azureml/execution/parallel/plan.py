"""What a parallel step asks for."""

from __future__ import annotations

from dataclasses import dataclass

from local.azureml.execution.plan import Work


@dataclass(frozen=True)
class Model:
    """The version that AZUREML_MODEL_DIR holds."""

    name: str
    version: str
    uri: str
    type: str


@dataclass(frozen=True)
class Parallel(Work):
    """One input cut into mini batches. `conda_file` None: the environment has only an image."""

    input_data: str
    """Name of the input that is cut."""
    input_type: str
    entry_script: str | None
    """In the code's folder; None: the MLflow model is asked by the emulator's own script."""
    code_uri: str | None
    conda_file: str | None
    model: Model | None
    program_arguments: str
    append_row_to: tuple[str, str] | None
    """(output, file name in it) for the rows that `run` returns; None: nothing is done with them."""
    mini_batch_size: int
    """Files, or bytes of a table; 0: Azure's default."""
    workers: int
    max_retries: int
    timeout_seconds: float
    """Of one call of `run`."""
    mini_batch_error_threshold: int
    error_threshold: int
    """-1: failures do not matter."""
    logging_level: str
