"""An app with every kind of trigger and output that the local host knows; it tells what it saw in a file of JSON lines."""

import azure.functions as func
from events import blueprint as events
from web import blueprint as web

app = func.FunctionApp()
app.register_functions(events)
app.register_functions(web)
