"""Real-time serving of the emulator: one scoring process per deployment behind a router that splits and mirrors traffic."""
