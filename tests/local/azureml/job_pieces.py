"""Components that the tests of jobs are put together from, and looks at a lab's jobs."""

from __future__ import annotations

from tests.local.azureml.job_lab import Lab
from tests.local.azureml.pipelines import deadline

WRITE = "import sys, pathlib; p = pathlib.Path(sys.argv[2]); p.mkdir(exist_ok=True); (p / 'x.txt').write_text(sys.argv[1])"
READ = "import sys, pathlib; print('read', (pathlib.Path(sys.argv[1]) / 'x.txt').read_text())"
TEXT = {"text": {"type": "string"}}
FOLDER_OUT, FOLDER_IN = {"out": {"type": "uri_folder"}}, {"data": {"type": "uri_folder"}}


def writer(lab: Lab) -> str:
    return lab.component(
        "writer", WRITE, command="python run.py ${{inputs.text}} ${{outputs.out}}", inputs=TEXT, outputs=FOLDER_OUT
    )


def reader(lab: Lab) -> str:
    return lab.component("reader", READ, command="python run.py ${{inputs.data}}", inputs=FOLDER_IN)


def until_logged(lab: Lab, job: str, step: str, text: str) -> None:
    with deadline(60, f"{step} never said {text!r}") as check:
        while (
            step not in lab.steps(job) or not lab.runner.log_file(lab.steps(job)[step]).exists() or text not in lab.log(job, step)
        ):
            check()


def statuses(lab: Lab, job: str) -> dict[str, str]:
    return {name: run["status"] for name, run in lab.steps(job).items()}
