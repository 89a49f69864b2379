"""The warm server: it carries out the calls of its clients without a start of Python for each.

``daemon`` is the entry: it listens, and hands requests to ``verbs.answer``. ``protocol`` is the
wire format, ``accept_pool`` has the threads, ``removal_queue`` joins removals of links. This room
may import ``verbs`` and all rooms below it.
"""
