"""Logs, exec, attach and port-forward: requests that the agent of the Pod's node answers.

May import ``pages`` and the layers below. ``target.py`` translates a request (pure), ``relay.py``
sends it and relays the answer; start reading there. See docs/streams.md.
"""
