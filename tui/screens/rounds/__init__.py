"""The first screen: the table of rounds, its columns, and the queue."""
