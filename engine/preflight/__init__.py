"""What can be known of a spec, its data and its base model before training."""
