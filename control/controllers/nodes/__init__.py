"""Nodes: their Pod ranges, their heartbeats, and the eviction of their Pods.

``cidr`` allocates ranges, ``lifecycle`` taints silent nodes, ``eviction`` deletes Pods that do not
tolerate a taint. Start reading in lifecycle.py.
"""
