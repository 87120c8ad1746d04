"""Files become data versions."""

import azure.functions as func

from ml_core import bootstrap
from ml_core.ingestion import accept, reconcile

blueprint = func.Blueprint()


@blueprint.function_name("register_uploaded_data")
@blueprint.event_grid_trigger(arg_name="event")
async def register_uploaded_data(event: str) -> None:
    """BlobCreated and BlobDeleted of the watched containers: record the arrival, wake the data asset. Many share one write."""
    await accept.accept(bootstrap.services(), event)


@blueprint.function_name("reconcile_data_asset")
@blueprint.queue_trigger(arg_name="message", queue_name="tidegate-data-assets", connection="TIDEGATE_STORAGE")
def reconcile_data_asset(message: func.QueueMessage) -> None:
    """One look at a data asset: is its window closed, is there a new version?"""
    reconcile.receive(bootstrap.services(), message.get_body().decode())
