"""``podwire services``, ``endpoints``: what each node's proxy decided, and what its kernel holds.

``layers`` reads the kernel, ``decided`` computes from the API's objects what should be there, both
as the same value for every back end. ``compare`` joins the nodes, and names each difference.
"""
