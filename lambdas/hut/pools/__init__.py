"""Pools of workers: tasks wait in a queue, workers lease them, run them and report. Pure."""
