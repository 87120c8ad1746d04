"""Models become deployments. What a look at a rollout needs is imported by the first one: no event waits for the judge."""

import json

import azure.functions as func

from ml_core import bootstrap
from ml_core.rollout import request

blueprint = func.Blueprint()


@blueprint.function_name("request_rollout")
@blueprint.event_grid_trigger(arg_name="event")
def request_rollout(event: str) -> None:
    """ModelRegistered of the workspace: ask for the version's rollout."""
    request.receive(bootstrap.services(), event)


@blueprint.function_name("advance_rollout")
@blueprint.queue_trigger(arg_name="message", queue_name="tidegate-rollouts", connection="TIDEGATE_STORAGE")
def advance_rollout(message: func.QueueMessage) -> None:
    """One look at an endpoint: the next step of its rollout, if it is time for one."""
    from ml_core.rollout import reconcile

    reconcile.receive(bootstrap.services(), message.get_body().decode())


@blueprint.function_name("command_rollout")
@blueprint.route(route="rollouts/{endpoint}/{what}", methods=["POST"], trigger_arg_name="request")
def command_rollout(request: func.HttpRequest) -> func.HttpResponse:
    """POST /api/rollouts/{endpoint}/{pause|resume|promote|abort|roll-back}: a person's word, as {"by", "reason", "version"}."""
    from ml_core.rollout import people_over_http

    endpoint, what = request.route_params["endpoint"], request.route_params["what"]
    answer = people_over_http.answer(bootstrap.services(), endpoint, what, request.get_body())
    return func.HttpResponse(json.dumps(answer.document), status_code=answer.status, mimetype="application/json")
