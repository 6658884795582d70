"""The training itself, in a process of its own: the only code that imports torch. It is started, never imported."""
