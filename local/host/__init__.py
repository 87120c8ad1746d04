"""A small Functions host: Event Grid webhook, queues, timers, HTTP."""
