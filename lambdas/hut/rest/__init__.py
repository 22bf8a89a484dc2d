"""The REST API: what bodies and lists look like and how errors are told. No AWS calls."""
