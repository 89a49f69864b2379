"""Faults made on purpose in a lab: ``podwire break``, ``podwire heal`` and ``podwire lesson``.

A fault is a value (``fault``): what it does, how one sees it, why it is so, and a pure function
from a ``scene``, what was read of the lab, to ``acts``. Each act is a change of the kernel's or the
API's state that knows what was there before. ``journal`` writes the acts to the lab's folder before
the first is done, so that ``carry`` can undo them after any death; ``keep`` does so in time. The
catalog is in ``known``, by the place of the fault.
"""
