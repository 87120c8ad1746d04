"""What is fast is measured here: every figure is a ratio of two things measured side by side, alternating, in one run."""
