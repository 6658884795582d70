"""A round from its spec to its adapter: setup, steps, evaluations, checkpoints, events."""
