"""Production data of deployments: what the data collector gathers, on its way to the workspace's storage.

https://learn.microsoft.com/azure/machine-learning/how-to-collect-production-data

`plan` says what is collected and where it goes, `events` is the line per request, `gathering` is the router's side, `spool` the
folder between the router and the control plane, which ships it to storage.
"""
