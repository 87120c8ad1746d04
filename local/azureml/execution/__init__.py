"""Runs jobs for real: command templates, the graph of a pipeline, the processes of its steps."""
