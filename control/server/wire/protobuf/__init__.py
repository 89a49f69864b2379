"""Protobuf bodies, as typed Go clients send them, decoded into JSON objects.

Pure, and imports nothing else of podwire. Start reading with ``decode.py``; the table of messages
is ``messages.txt``.
"""
