"""The laptop: emulators that stand where Azure stands. Never deployed; imports nothing of ml_core or functions."""
