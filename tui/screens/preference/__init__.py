"""The blind test of two rounds' answers."""
