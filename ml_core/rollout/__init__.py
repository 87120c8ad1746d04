"""Models become deployments: created at 0 %, smoke tested, ramped up step by step, rolled back when they fail."""
