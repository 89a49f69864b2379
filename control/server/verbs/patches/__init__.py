"""The patch formats: JSON patch, JSON merge patch and strategic merge patch.

Pure functions from an object and a patch to the patched object. They import ``control.api`` only.
Start reading with ``merge.py``; ``verbs/patch.py`` chooses the format.
"""
