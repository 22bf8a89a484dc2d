"""Where tasks run: an adapter for each kind of machine."""
