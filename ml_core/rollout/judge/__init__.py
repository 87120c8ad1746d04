"""The judge: whether a candidate is worse than the stable deployment, by tests that hold at any look. Pure arithmetic."""
