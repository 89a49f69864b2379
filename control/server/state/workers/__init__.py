"""Processes that compute large requests, so that the event loop never waits for one.

A thread would hold the interpreter. Start reading with ``pool.py`` (the server's side), then
``child.py`` (the process) and ``snapshot.py`` (what a computation sees of the cluster).
"""
