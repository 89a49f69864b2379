"""The CNI specification as values: request, configuration, result, errors, versions; all pure.

``request`` is the entry: it parses environment and standard input, once, with ``config`` and
``section``. ``names`` derives the names of an attachment's objects, ``kernel_state`` has the
kernel's state as values. This room may import ``digest`` only.
"""
