"""When schedules fire: time zones, triggers, and the thread that submits their jobs."""
