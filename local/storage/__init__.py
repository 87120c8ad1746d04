"""Azurite, and the watcher that turns its blobs into BlobCreated events."""
