"""API objects, from the informers to the proxy's values.

Only this room reads API objects (``control.api``, ``control.client``). ``wire`` has the shapes,
``parse`` makes values of them, ``feed`` puts those into the tracker. Start with ``parse``.
"""
