"""Where the state of runs lives: the port, and an adapter for each kind of store."""
