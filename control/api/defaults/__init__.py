"""The default values that upstream's API server sets in new objects.

Pure functions on decoded JSON objects, with the tools of ``edit.py``. They import nothing but each
other. ``control/api/rules.py`` says which kind uses which function; start reading there.
"""
