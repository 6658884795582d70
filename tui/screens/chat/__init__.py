"""A chat with up to four adapters."""
