"""Hut: a workflow control plane."""
