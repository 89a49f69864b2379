"""The status of ResourceQuotas: what the objects of a namespace use.

The API server charges what is made; this controller counts what is there: when a quota is new,
when something of what it limits goes away, and every five minutes. ``controller`` says when,
``recount`` asks the server and writes. What one object uses says ``control.api.quota``.
"""
