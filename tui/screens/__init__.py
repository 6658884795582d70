"""The screens of the terminal app, one folder each."""
