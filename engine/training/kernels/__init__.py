"""Faster forward and backward passes of single operations, and CUDA graphs of whole passes."""
