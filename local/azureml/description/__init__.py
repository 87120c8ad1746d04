"""Azure's public REST description as facts: what a body must look like. Bodies are held to it, answers in the tests too."""
