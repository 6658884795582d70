"""The screen of a sweep: its settings, the best of them, and what they say."""
