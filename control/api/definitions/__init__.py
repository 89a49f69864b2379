"""Upstream's types of one release: how each field merges, and which are required.

May import nothing of podwire. Start reading with ``table.py``; ``definitions.txt`` is the data,
``descriptions.txt`` what OpenAPI says of each type and field.
"""
