"""Upstream's types of every field of every kind, and objects read by them as Go reads JSON.

``messages.txt`` is the table; ``table.py`` reads it. Start reading with ``conform.py``: it gives
an object the values that upstream would store, and refuses those that upstream's decoder refuses.
"""
