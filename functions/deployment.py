"""Models become deployments."""

import azure.functions as func

from ml_core import bootstrap
from ml_core.rollout import reconcile, request

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
    reconcile.receive(bootstrap.services(), message.get_body().decode())
