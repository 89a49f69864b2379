"""The wire formats of requests and responses, without HTTP.

The lowest layer of the server: it imports ``control.api`` only. Start reading with ``request.py``
(a parsed request), then ``item.py`` (stored bytes) and ``errors.py`` (the Status of each error).
"""
