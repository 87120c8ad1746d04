"""Files become data versions: events are recorded, a window closes, the exact blobs are named by their content and registered.

The road of an event, from the function to the models:

    accept.py        many invocations at once; group_commit.py lets them share a write
    record.py        whose arrival it is (one event at a time: replays and stories enter here)
    arrivals.py      receipts in bundles, in the ledger; then the data asset is woken
    reconcile.py     one look: fold in what was told, observe, decide, one step
    folding.py       bundles into the catalogue; window_notes.py keeps what each window has collected
    decide.py        which windows close, and what follows (pure)
    inventory.py     before that: what is there against what was told
    versions.py      what a version holds, its registration, the closing, the models are woken; manifest.py writes its files

What they share: catalogue.py (index and shards in the ledger), rows.py, tallies.py and windows.py (pure). replay.py feeds what
windows have noted in at arrivals.py again.
"""
