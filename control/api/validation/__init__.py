"""The validation of objects, with upstream's messages.

Pure functions from a model to errors of fields. They may import the models, ``control.api.field``
and the defaults of Services. ``control/api/rules.py`` says which kind uses which function; start
reading there, then with ``text.py`` and ``meta.py``.
"""
