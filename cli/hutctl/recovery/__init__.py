"""What an operator does to a deployment after something went badly wrong (docs/operations.md)."""
