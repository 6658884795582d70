"""Measures of a model: perplexity, greedy answers, and scores of their texts."""
