"""Targets in AWS: the same commands over the REST API of a control plane."""
