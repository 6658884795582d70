"""A conversation with up to four adapters."""
