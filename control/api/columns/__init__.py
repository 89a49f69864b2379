"""The table columns of each kind, as ``kubectl get`` prints them.

Pure functions from decoded JSON objects to cells. Imports from ``control.api`` only. Start reading
with ``table.py`` (which kind has which columns), then ``base.py``.
"""
