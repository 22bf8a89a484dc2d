"""Adapters of the small ports on AWS: executions, wake messages, uploads. Clients are passed in.

Each is imported from its own module, as a function that takes messages needs none of the API's.
"""
