"""A run as a process: the lock on its folder, its heartbeat, the signals that end it."""
