"""Chat with adapters: the worker process, the conversation, and its files."""
