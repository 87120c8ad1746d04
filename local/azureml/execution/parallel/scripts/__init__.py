"""What runs under the Python of a step's environment: standard library only, nothing of this repository beside each other."""
