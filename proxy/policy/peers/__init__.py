"""Who is whom: the Pods that a selector selects, those of a peer, and the Pod at an address.

Pure. ``addresses`` answers what renderers ask; ``members`` keeps each peer's Pods up to date.
"""
