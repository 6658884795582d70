"""experiments.json: rounds in TinyDB, with locks, backups, trash and repair."""
