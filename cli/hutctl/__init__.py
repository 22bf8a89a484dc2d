"""The command line of Hut."""
