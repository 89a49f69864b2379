"""Protobuf bodies, as typed Go clients send them, decoded into JSON objects.

Pure. Start reading with ``decode.py``; the table of messages
is ``messages.txt`` in ``control/api/types``.
"""
