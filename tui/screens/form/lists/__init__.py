"""Lists of what a field of the form may hold, opened from it."""
