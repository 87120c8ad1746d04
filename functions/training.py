"""Data versions become models."""

import azure.functions as func

from ml_core import bootstrap
from ml_core.training import observe, reconcile, request

blueprint = func.Blueprint()


@blueprint.function_name("observe_training")
@blueprint.event_grid_trigger(arg_name="event")
def observe_training(event: str) -> None:
    """RunStatusChanged of the workspace: wake the model whose job it is."""
    observe.receive(bootstrap.services(), event)


@blueprint.function_name("reconcile_model")
@blueprint.queue_trigger(arg_name="message", queue_name="tidegate-models", connection="TIDEGATE_STORAGE")
def reconcile_model(message: func.QueueMessage) -> None:
    """One look at a model: is there something to train on, has its job ended?"""
    reconcile.receive(bootstrap.services(), message.get_body().decode())


@blueprint.function_name("start_due_retraining")
@blueprint.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def start_due_retraining(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name is the contract
    """Every minute: ask for the trainings whose schedule has come due."""
    request.request_due_training(bootstrap.services())
