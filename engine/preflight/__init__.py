"""Check a spec, its data and its base model before training."""
