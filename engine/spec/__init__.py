"""Define a round: its hyperparameters and their bounds, its plan, its presets."""
