"""The functions as Azure sees them: each translates its binding, delegates with one call and returns.

Events come as `str`, the raw JSON: one parameter type for both of Event Grid's schemas, which the worker otherwise turns into
two different classes whatever the annotation says.
"""
