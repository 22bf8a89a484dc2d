"""Runs on this machine: where their state is, and the engine that drives them."""
