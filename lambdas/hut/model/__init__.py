"""What things are: tasks, attempts, runs, configuration. Plain data, no behaviour that decides."""
