"""The headless half of loratui: specs, plans, the store, the runner, and, in `engine.training`, the training itself."""
