"""Processes that load a model for something other than training: chat, scoring, preview."""
