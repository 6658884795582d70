"""The detached process that trains the queue of one workspace, one engine for each round."""
