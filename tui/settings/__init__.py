"""The settings of a person: config file, themes, keys."""
