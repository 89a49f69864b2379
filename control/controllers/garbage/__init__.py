"""Deletes objects that are no longer needed: dependents, Pods without a node, namespaces' contents.

``owners`` finds owners and dependents, and is pure. Start reading in collector.py.
"""
