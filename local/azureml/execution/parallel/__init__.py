"""Parallel steps: an input cut into mini batches, worked on by several processes under one driver."""
