"""Rendering, tokenization, caching and packing of rows into batches of token ids."""
