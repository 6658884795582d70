"""Memory of a round by a trace of the engine's own passes, which a worker process makes without holding any memory."""
