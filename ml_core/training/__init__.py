"""Data versions become models: one training job at a time per model, followed to its end."""
