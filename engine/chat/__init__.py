"""Chat with adapters: the client of the worker process, the conversation, and its files."""
