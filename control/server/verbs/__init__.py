"""The verbs on objects: read, watch, create, update, patch, delete and the subresources.

May import ``state``, ``wire`` and ``control.store``; never HTTP. Start reading with ``table.py``,
then follow a write: ``create.py`` or ``modify.py``, ``admission.py``, ``write.py``.
"""
