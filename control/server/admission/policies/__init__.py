"""ValidatingAdmissionPolicies: which apply to a write, with which parameters, and what they say.

Start with ``ask.py``; ``config.py`` reads policies and bindings, ``params.py`` finds parameters.
What a policy computes is in ``control/api/policies``.
"""
