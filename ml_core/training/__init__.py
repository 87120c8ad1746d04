"""Data versions become models: one training job at a time per model, followed to its end.

    request.py       reasons to train that are not new data, and which job has answered each
    observe.py       what Azure ML tells about runs: look again
    reconcile.py     one look: observe, decide, one step
    decide.py        what to train on next, and what became of the job that runs (pure)

decide.py's states, observations and actions are in values.py; earlier.py reads states as earlier versions of the app wrote them.
"""
