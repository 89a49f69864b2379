"""This node in the API: its Node object and its Lease."""
