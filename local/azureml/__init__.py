"""An emulator of the Azure ML REST API: real jobs, real scoring processes."""
