"""For timers and people: nothing is forgotten, and everything can be seen."""

import json

import azure.functions as func

from ml_core import bootstrap, operations

blueprint = func.Blueprint()


@blueprint.function_name("sweep_active_keys")
@blueprint.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
def sweep_active_keys(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name is the contract
    """Every five minutes: look at everything, should an event have been lost."""
    operations.sweep(bootstrap.services())


@blueprint.function_name("show_status")
@blueprint.route(route="status", methods=["GET"], trigger_arg_name="request")
def show_status(request: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name is the contract
    """GET /api/status: the state of every data asset, model and rollout as JSON."""
    return func.HttpResponse(json.dumps(operations.status(bootstrap.services()), indent=1), mimetype="application/json")
