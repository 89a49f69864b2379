"""The validation of Pods and of the Pods in templates, with upstream's messages.

Pure functions from a model to errors of fields. They may import the models, ``control.api.field``
and the modules above. Start reading in ``pod.py``: it checks the spec and calls the other modules.
"""
