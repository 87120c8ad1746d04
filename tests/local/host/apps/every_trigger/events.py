import json
import os
import time
from pathlib import Path

import azure.functions as func
from observed import observe

blueprint = func.Blueprint()


@blueprint.event_grid_trigger(arg_name="event")
@blueprint.queue_output(arg_name="key", queue_name="%KEYS_QUEUE%", connection="STORE")
def record_event(event: func.EventGridEvent, key: func.Out[str], context: func.Context) -> None:
    data = event.get_json()
    if data.get("fail"):
        raise ValueError("this event was made to fail")
    key.set(json.dumps({"event": event.id}))
    observe("event", id=event.id, subject=event.subject, type=event.event_type, invocation=context.invocation_id)


@blueprint.event_grid_trigger(arg_name="event")
def record_cloud_event(event: func.CloudEvent) -> None:
    observe("cloud event", id=event.id, source=event.source)


@blueprint.queue_trigger(arg_name="message", queue_name="%KEYS_QUEUE%", connection="STORE")
def take_key(message: func.QueueMessage) -> None:
    observe("key", body=message.get_json(), dequeue_count=message.dequeue_count)


@blueprint.queue_trigger(arg_name="message", queue_name="%WORK_QUEUE%", connection="STORE")
def take_work(message: func.QueueMessage) -> None:
    work = message.get_json()
    observe("work", **work, dequeue_count=message.dequeue_count, pid=os.getpid())
    while "wait_for" in work and not Path(work["wait_for"]).exists():
        time.sleep(0.02)
    if work.get("fail"):
        raise RuntimeError("this work was made to fail")
    observe("work done", **work, pid=os.getpid())


@blueprint.timer_trigger(arg_name="timer", schedule="0 0 3 1 1 *")
def tick_yearly(timer: func.TimerRequest) -> None:
    observe("yearly", past_due=timer.past_due, status=timer.schedule_status)


@blueprint.timer_trigger(arg_name="timer", schedule="* * * * * *")
async def tick_each_second(timer: func.TimerRequest) -> None:
    observe("second", past_due=timer.past_due, status=timer.schedule_status)
