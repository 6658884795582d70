"""A table of any number of rows, drawn a line at a time."""
