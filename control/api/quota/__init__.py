"""ResourceQuotas: the model, what an object uses of a quota, and whether it fits. Pure.

The API server charges new objects by ``fit``; the controller counts what is there by ``count``.
``usage`` says for both what one object uses, ``scopes`` which objects a quota is about.
"""
