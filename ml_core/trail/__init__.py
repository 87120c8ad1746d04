"""Why did this happen, or why did nothing happen? The trail of a blob, an event, a window, a version, a job, a model or an
endpoint, read from the ledger and the workspace. It only reads.

    ask.py        what is meant by a text that somebody has typed, and the trail of it
    events.py     an event that was matched, ignored or refused, and the inbox
    data.py       blobs, windows, data versions
    training.py   requests, jobs
    rollouts.py   model versions, endpoints
"""
