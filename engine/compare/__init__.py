"""Comparison of rounds: fields and results side by side, which rounds are comparable, whether a difference is real."""
