"""The agent ``hutctl worker``: it takes tasks from a pool, runs them here and says how they ended."""
