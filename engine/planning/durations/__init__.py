"""Times: how long a round takes, how long it still takes, and when the rounds of a queue start and end."""
