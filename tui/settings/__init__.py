"""What a person can configure: config file, themes, keys."""
