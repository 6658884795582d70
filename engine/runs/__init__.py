"""A run directory: events, logs, curves, checkpoints, scores, and the spec that it trains."""
