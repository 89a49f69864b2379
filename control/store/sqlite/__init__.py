"""The durable store in one SQLite file.

May import the protocol, ``control.store.base``, and ``recent``. Start reading with ``store.py``
(the event loop's side), then ``writer.py`` (the writing thread) and ``log.py`` (the SQL).
"""
