"""Parallel steps through the unmodified SDK: files and tables cut into mini batches, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.local.azureml.pipelines import submit, unique, until_ended
from tests.waiting import wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

pytestmark = pytest.mark.train_environment

COUNT_WORDS = """
import argparse, os
from pathlib import Path
def init():
    global arguments
    parser = argparse.ArgumentParser()
    parser.add_argument("--greeting")
    parser.add_argument("--own_output")
    arguments, _ = parser.parse_known_args()
    print("output folder", os.environ["AZUREML_BI_OUTPUT_PATH"] == str(Path(arguments.own_output).parent / "rows"))
def run(mini_batch):
    for file in mini_batch:
        if "poison" in Path(file).read_text():
            raise ValueError("poisoned")
        (Path(arguments.own_output) / Path(file).name).touch()
    count = lambda file: len(Path(file).read_text().split())
    return [f"{arguments.greeting} {Path(file).name} {count(file)} {os.environ['TAG']}" for file in mini_batch]
"""
SUM_ROWS = """
def run(table, context):
    print("mini batch", context.minibatch_index, "of", len(table))
    return table.assign(total=table.a + table.b)[["a", "total"]]
"""
TABLE = "paths: [{file: rows.csv}]\ntransformations: [{read_delimited: {delimiter: ','}}]\n"


@pytest.fixture(scope="module")
def client(ml_client: MLClient) -> MLClient:
    from azure.ai.ml.entities import Environment

    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    return ml_client


def parallel(folder: Path, name: str, script: str, input_type: str, **asked: Any) -> Any:
    """A node made by `parallel_run_function`, its code in a folder of its own."""
    from azure.ai.ml import Input, Output
    from azure.ai.ml.parallel import RunFunction, parallel_run_function

    (folder / name).mkdir()
    (folder / name / "entry.py").write_text(script)
    more = asked.pop("inputs", {})
    task = {"append_row_to": "${{outputs.rows}}", **asked.pop("task", {})}
    return parallel_run_function(
        name=name,
        inputs={"data": Input(type=input_type), **more},
        outputs={"rows": Output(type="uri_folder"), **asked.pop("outputs", {})},
        input_data="${{inputs.data}}",
        task=RunFunction(code=str(folder / name), entry_script="entry.py", environment="azureml:plain:1", **task),
        **asked,
    )


def data(folder: Path, **texts: str) -> str:
    place = folder / unique("data")
    place.mkdir()
    for name, text in texts.items():
        (place / name.replace("_", ".")).write_text(text)
    return str(place)


def words(folder: Path, name: str, **asked: Any) -> Any:
    from azure.ai.ml import Input, Output

    return parallel(
        folder, name, COUNT_WORDS, "uri_folder",
        inputs={"greeting": Input(type="string")}, outputs={"own": Output(type="uri_folder")},
        task={"program_arguments": "--greeting ${{inputs.greeting}} --own_output ${{outputs.own}} --error_threshold 5"},
        environment_variables={"TAG": "tagged"}, max_concurrency_per_instance=2, mini_batch_size="2",
        retry_settings={"max_retries": 1, "timeout": 30}, **asked,
    )  # fmt: skip


def test_files_and_tables_are_cut_worked_on_and_put_together(client: MLClient, tmp_path: Path) -> None:
    from azure.ai.ml import Input, dsl

    count = words(tmp_path, "words", mini_batch_error_threshold=1)
    add = parallel(tmp_path, "add", SUM_ROWS, "mltable", mini_batch_size="100", max_concurrency_per_instance=1)

    @dsl.pipeline(default_compute="serverless")
    def both(files, table):
        counted = count(data=files, greeting="hello")
        added = add(data=table)
        return {"counted": counted.outputs.rows, "own": counted.outputs.own, "added": added.outputs.rows}

    files = data(tmp_path, a_txt="one", b_txt="one two", c_txt="poison", d_txt="x", e_txt="one two three")
    rows = "".join(f"{number},{number * 2}\n" for number in range(60))
    table = data(tmp_path, rows_csv=f"a,b\n{rows}", MLTable=TABLE)
    job = submit(client, both(Input(type="uri_folder", path=files), Input(type="mltable", path=table, mode="direct")))
    assert until_ended(client, job.name).status == "Completed", client.jobs.stream(job.name)
    client.jobs.download(job.name, download_path=tmp_path / "got", all=True)
    got = tmp_path / "got" / "named-outputs"
    counted = (got / "counted" / "parallel_run_step.txt").read_text().splitlines()
    assert counted == ["hello a.txt 1 tagged", "hello b.txt 2 tagged", "hello e.txt 3 tagged"]
    assert sorted(file.name for file in (got / "own").iterdir()) == ["a.txt", "b.txt", "e.txt"]
    added = (got / "added" / "parallel_run_step.txt").read_text().splitlines()
    assert added == [f"{number} {number * 3}" for number in range(60)]


def test_too_many_failed_mini_batches_fail_the_job_and_name_themselves(client: MLClient, tmp_path: Path) -> None:
    from azure.ai.ml import Input, dsl
    from azure.ai.ml.exceptions import JobException

    count = words(tmp_path, "strict", mini_batch_error_threshold=0)

    @dsl.pipeline(default_compute="serverless")
    def one(files):
        count(data=files, greeting="hello")

    job = submit(client, one(Input(type="uri_folder", path=data(tmp_path, a_txt="fine", b_txt="poison"))))
    assert until_ended(client, job.name).status == "Failed"
    with pytest.raises(JobException) as failed:
        client.jobs.stream(job.name)
    assert "1 of 1 mini batches failed, more than the mini_batch_error_threshold of 0" in str(failed.value)
    assert "Mini batch 0 (a.txt, b.txt): Traceback" in str(failed.value)
    assert "ValueError: poisoned" in str(failed.value)


def test_a_canceled_parallel_step_leaves_no_worker(client: MLClient, tmp_path: Path) -> None:
    from azure.ai.ml import Input, dsl

    pids = tmp_path / "pids"
    pids.mkdir()
    sleep = f"import os, time\ndef run(batch):\n    open(f'{pids}/{{os.getpid()}}', 'w').close()\n    time.sleep(60)\n"
    wait = parallel(tmp_path, "sleep", sleep, "uri_folder", mini_batch_size="1", max_concurrency_per_instance=2)

    @dsl.pipeline(default_compute="serverless")
    def one(files):
        wait(data=files)

    job = submit(client, one(Input(type="uri_folder", path=data(tmp_path, a_txt="a", b_txt="b", c_txt="c"))))
    wait_until(lambda: len(list(pids.iterdir())) == 2, what="two workers at work")
    client.jobs.begin_cancel(job.name).result()
    assert until_ended(client, job.name).status == "Canceled"
    wait_until(lambda: not any(psutil.pid_exists(int(pid.name)) for pid in pids.iterdir()), what="no worker left")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"partition_keys": ["a"]}, "does not support partition_keys"),
        ({"max_concurrency_per_instance": 0}, "max_concurrency_per_instance must be at least 1"),
        ({"retry_settings": {"max_retries": 1, "timeout": 259201}}, "must be at most 259200"),
        ({"error_threshold": -2}, "error_threshold must be at least -1"),
        ({"task": {"append_row_to": "${{outputs.nowhere}}"}}, "append_row_to must be"),
        ({"task": {"program_arguments": "--x ${{inputs.nowhere}}"}}, "which is not declared"),
    ],
)
def test_parallel_steps_that_cannot_work_are_refused(client: MLClient, tmp_path: Path, asked: dict[str, Any], why: str) -> None:
    from azure.ai.ml import Input, dsl
    from azure.core.exceptions import HttpResponseError

    broken = parallel(tmp_path, "broken", "def run(batch): return batch", "uri_folder", **asked)

    @dsl.pipeline(default_compute="serverless")
    def one(files):
        broken(data=files)

    with pytest.raises(HttpResponseError) as refused:
        submit(client, one(Input(type="uri_folder", path="azureml://datastores/workspaceblobstore/paths/x/")))
    assert why in str(refused.value)


def test_a_variable_with_an_expression_that_nobody_fills_in_is_refused(client: MLClient, tmp_path: Path) -> None:
    from azure.ai.ml import Input, dsl
    from azure.core.exceptions import HttpResponseError

    whole = parallel(tmp_path, "whole", "def run(batch): return batch", "uri_folder")

    @dsl.pipeline(default_compute="serverless")
    def one(files):
        whole(data=files).environment_variables = {"FROM": "${{parent.inputs.files}}"}

    with pytest.raises(HttpResponseError, match="of expressions in environment_variables"):
        submit(client, one(Input(type="uri_folder", path="azureml://datastores/workspaceblobstore/paths/x/")))
