"""What may run now, and how much of it. Pure; the order itself is the store's index."""
