"""Sweeps: a question put to many rounds, its trials."""
