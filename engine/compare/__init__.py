"""How rounds differ, which of them compare, and whether a difference is significant."""
