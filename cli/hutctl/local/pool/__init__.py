"""Pools on one machine: an engine serves one over HTTP, workers find it by a file in Hut's home."""
