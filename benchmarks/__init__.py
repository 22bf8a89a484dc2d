"""Measures Hut beside other tools on this machine: ``python -m benchmarks`` writes RESULTS.md."""
