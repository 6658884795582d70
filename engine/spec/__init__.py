"""What a round is: its hyperparameters and their bounds, its plan, its presets."""
