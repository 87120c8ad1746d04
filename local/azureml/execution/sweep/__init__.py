"""Sweep jobs: many trials of one command, each with other values of its hyperparameters, and the best of them."""
