"""Training rows: read from files, recognized by their columns, rendered by a template."""
