"""HTTP: every request passes ``handler.py``, which answers it or refuses it.

``web_request.py`` is a request with what becomes known of it, ``body.py`` reads what it sends,
``response.py`` and ``send.py`` answer at once and in pieces, ``watches.py`` sends events,
``deadlines.py`` ends what takes too long.
"""
