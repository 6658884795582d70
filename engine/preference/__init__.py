"""Blind judgements of answers, and the win rates and ranking that follow from them."""
