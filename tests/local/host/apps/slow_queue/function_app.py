"""One queue function that waits for a file, or fails until it is there, when its message names one."""

import asyncio
import json
import os
from pathlib import Path

import azure.functions as func

app = func.FunctionApp()


def observe(what: str, work: dict) -> None:
    with Path(os.environ["OBSERVED"]).open("a") as file:
        file.write(json.dumps({"what": what, **work}) + "\n")


@app.queue_trigger(arg_name="message", queue_name="%WORK_QUEUE%", connection="STORE")
async def take_work(message: str) -> None:
    work = json.loads(message)
    observe("work", work)
    if "fail_until" in work and not Path(work["fail_until"]).exists():
        raise RuntimeError("this message was made to fail")
    while "wait_for" in work and not Path(work["wait_for"]).exists():
        await asyncio.sleep(0.02)
    observe("work done", work)
