"""The state that all requests share: settings, store, watch cache and clock.

May import ``wire`` and ``control.store``. Start reading with ``watch_cache.py``: reads and watches
are answered from it.
"""
