"""Paths of a workspace, atomic writes, permissions, and drafts of what a person types."""
