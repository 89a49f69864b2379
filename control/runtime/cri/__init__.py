"""Runs Pods through a CRI runtime (containerd, CRI-O): ``runtime.v1`` over gRPC on a Unix socket.

``runtime`` implements ``control.runtime.base.Runtime``; ``render`` and ``view`` translate between
its values and the messages, and are pure; ``cache`` is what was last seen, ``calls`` the
connection, ``v1`` the generated messages. Start reading in runtime.py.
"""
