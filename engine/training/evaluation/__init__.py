"""What a model is measured by: perplexity and greedy answers."""
