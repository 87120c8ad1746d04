"""For timers and people: nothing is forgotten, and everything can be seen."""

import json

import azure.functions as func

from ml_core import bootstrap, dead_letters, operations
from ml_core.reconciling import DATA_ASSETS, MODELS, ROLLOUTS

blueprint = func.Blueprint()


@blueprint.function_name("sweep_active_keys")
@blueprint.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
def sweep_active_keys(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name is the contract
    """Every five minutes: look at everything, should an event have been lost."""
    operations.sweep(bootstrap.services())


@blueprint.function_name("collect_dead_letters")
@blueprint.timer_trigger(arg_name="timer", schedule="30 * * * * *")
def collect_dead_letters(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name is the contract
    """Every minute: bring what Event Grid could not deliver into the inbox."""
    dead_letters.collect(bootstrap.services())


@blueprint.function_name("keep_poison_data_asset")
@blueprint.queue_trigger(arg_name="message", queue_name="tidegate-data-assets-poison", connection="TIDEGATE_STORAGE")
def keep_poison_data_asset(message: func.QueueMessage) -> None:
    """A message about a data asset that the host gave up on: into the inbox."""
    operations.keep_poison_message(bootstrap.services(), DATA_ASSETS, message.get_body().decode(errors="replace"))


@blueprint.function_name("keep_poison_model")
@blueprint.queue_trigger(arg_name="message", queue_name="tidegate-models-poison", connection="TIDEGATE_STORAGE")
def keep_poison_model(message: func.QueueMessage) -> None:
    """A message about a model that the host gave up on: into the inbox."""
    operations.keep_poison_message(bootstrap.services(), MODELS, message.get_body().decode(errors="replace"))


@blueprint.function_name("keep_poison_rollout")
@blueprint.queue_trigger(arg_name="message", queue_name="tidegate-rollouts-poison", connection="TIDEGATE_STORAGE")
def keep_poison_rollout(message: func.QueueMessage) -> None:
    """A message about a rollout that the host gave up on: into the inbox."""
    operations.keep_poison_message(bootstrap.services(), ROLLOUTS, message.get_body().decode(errors="replace"))


@blueprint.function_name("show_status")
@blueprint.route(route="status", methods=["GET"], trigger_arg_name="request")
def show_status(request: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the binding's name is the contract
    """GET /api/status: the state of every data asset, model and rollout as JSON."""
    return func.HttpResponse(json.dumps(operations.status(bootstrap.services()), indent=1), mimetype="application/json")
