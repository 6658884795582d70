"""Paths of a workspace, atomic writes, and permissions."""
