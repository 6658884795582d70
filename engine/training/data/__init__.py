"""From rows to batches of token ids: rendering, tokenization, cache, packing."""
