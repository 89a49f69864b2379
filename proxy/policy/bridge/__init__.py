"""Frames between two Pods of this node: the bridge's programs, or the rules, decide on them.

Start reading in ``guard``. It may import the ebpf backend's maps.
"""
