"""The state machines of tasks, attempts and runs, and the rules for retries. Pure."""
