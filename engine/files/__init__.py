"""Paths of a workspace, files that are replaced whole, and who may read them."""
