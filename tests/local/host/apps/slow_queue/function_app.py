"""One queue function that waits for a file when its message names one."""

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
    while "wait_for" in work and not Path(work["wait_for"]).exists():
        await asyncio.sleep(0.02)
    observe("work done", work)
