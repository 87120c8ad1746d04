"""Apps that Azure refuses: name -> (source of function_app.py, a part of our message, whether Microsoft's worker refuses it too).

Where the worker lets an app pass, the .NET host (schedules) or nobody (no functions) says no: docs/reference/functions-host.md.
"""

from typing import NamedTuple

HEAD = "import typing\nimport azure.functions as func\napp = func.FunctionApp()\n"
EVENT = '@app.event_grid_trigger(arg_name="event")\n'
QUEUE_OUT = '@app.queue_output(arg_name="out", queue_name="q", connection="STORE")\n'


class BadApp(NamedTuple):
    source: str
    says: str
    worker_refuses: bool = True


BAD_APPS: dict[str, BadApp] = {
    "parameter without binding": BadApp(HEAD + EVENT + "def f(evt): pass\n", "parameter 'evt' has no binding"),
    "binding without parameter": BadApp(HEAD + EVENT + QUEUE_OUT + "def f(event): pass\n", "binding 'out' has no parameter"),
    "union annotation": BadApp(
        HEAD + EVENT + "def f(event: typing.Union[func.EventGridEvent, func.CloudEvent]): pass\n", "choose one class"
    ),
    "new union annotation": BadApp(HEAD + EVENT + "def f(event: func.EventGridEvent | None): pass\n", "choose one class"),
    "list output": BadApp(HEAD + EVENT + QUEUE_OUT + "def f(event, out: func.Out[list[str]]): pass\n", "write typing.List[...]"),
    "output without Out": BadApp(HEAD + EVENT + QUEUE_OUT + "def f(event, out: str): pass\n", "annotate it func.Out[str]"),
    "input with Out": BadApp(HEAD + EVENT + "def f(event: func.Out[str]): pass\n", "is an input"),
    "bare Out": BadApp(HEAD + EVENT + QUEUE_OUT + "def f(event, out: func.Out): pass\n", "takes for no type"),
    "wrong class": BadApp(HEAD + EVENT + "def f(event: func.QueueMessage): pass\n", "does not fit it"),
    "wrong class of a timer": BadApp(
        HEAD + '@app.timer_trigger(arg_name="t", schedule="0 * * * * *")\ndef f(t: int): pass\n', "does not fit it"
    ),
    "wrong class of a request": BadApp(HEAD + '@app.route(route="x")\ndef f(req: dict): pass\n', "does not fit it"),
    "wrong return class": BadApp(
        HEAD + '@app.route(route="x")\ndef f(req: func.HttpRequest) -> dict: pass\n', "does not fit the output"
    ),
    "union return": BadApp(HEAD + '@app.route(route="x")\ndef f(req) -> typing.Optional[str]: pass\n', "is no plain class"),
    "wrong context": BadApp(HEAD + EVENT + "def f(event, context: str): pass\n", "must be annotated func.Context"),
    "unknown name in an annotation": BadApp(HEAD + EVENT + "def f(event: 'Nothing'): pass\n", "annotations cannot be evaluated"),
    "duplicate name": BadApp(HEAD + 2 * (EVENT + "def f(event): pass\n"), "unique function name"),
    "no trigger": BadApp(HEAD + QUEUE_OUT + "def f(out): pass\n", "trigger"),
    "import error": BadApp("import no_such_module\n", "No module named 'no_such_module'"),
    "syntax error": BadApp("def f(:\n", "SyntaxError"),
    "two apps": BadApp(HEAD + "other = func.FunctionApp()\n" + EVENT + "def f(event): pass\n", "more than one FunctionApp"),
    "no app": BadApp("x = 1\n", "no FunctionApp at its top level"),
    "no functions": BadApp(HEAD, "0 functions", worker_refuses=False),
    "impossible schedule": BadApp(
        HEAD + '@app.timer_trigger(arg_name="t", schedule="0 61 * * * *")\ndef f(t): pass\n',
        "must lie in 0-59",
        worker_refuses=False,
    ),
    "unknown trigger": BadApp(
        HEAD + '@app.blob_trigger(arg_name="b", path="a/b", connection="STORE")\ndef f(b): pass\n',
        "blobTrigger, which this host does not have",
        worker_refuses=False,
    ),
    "missing setting": BadApp(
        HEAD + '@app.queue_trigger(arg_name="m", queue_name="%NO_SUCH%", connection="STORE")\ndef f(m): pass\n',
        "no app setting 'NO_SUCH'",
        worker_refuses=False,
    ),
}
