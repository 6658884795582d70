"""The base model and its adapter: loading, LoRA, forward pass, memory budget, model card."""
