"""One run, live or replayed: curves, machine, log, sample answers."""
