"""The function app: registers the functions of each capability, and does nothing else."""

import azure.functions as func

from functions import deployment, ingestion, operations, training

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

app.register_functions(ingestion.blueprint)
app.register_functions(training.blueprint)
app.register_functions(deployment.blueprint)
app.register_functions(operations.blueprint)
