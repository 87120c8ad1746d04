"""Batch endpoints beyond their resources: what an invocation becomes, and the routes of the scoring address."""

ENDPOINTS = "batchEndpoints"
"""name -> the ARM body."""
DEPLOYMENTS = "batchDeployments"
"""endpoint, deployment -> the ARM body."""
JOBS = "batchJobs"
"""endpoint, name of the job -> {"deployment"}: which jobs an endpoint was invoked for."""
