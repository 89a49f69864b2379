"""The functions that expressions may call: CEL's, its extensions', and Kubernetes' own.

A module has a list of ``Overload``: ``table.py`` says what that is. To add a function, add a row.
"""
