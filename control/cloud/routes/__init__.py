"""The route controller: one route of the cloud for each Pod range of each Node.

``decide`` is pure: which routes go and which are missing. ``controller`` acts, by the cloud and by
the API. Condition, Event and order of writes are upstream's.
"""
