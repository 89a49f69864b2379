"""Hollow nodes: the agent's own code, many in one process, over a runtime that runs nothing.

``machine`` is what such an agent has instead of a machine; ``nodes`` runs the agents of a folder of
credentials; ``cli`` is ``podwire hollow``. Start reading in nodes.py.
"""
