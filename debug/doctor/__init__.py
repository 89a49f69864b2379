"""``podwire doctor``: a check for each fault that can be read, with evidence, cause and fix.

``look`` joins a snapshot by node, ``checks`` has a pure function for each fault, ``table`` names
them all, ``examine`` runs them. ``proof`` sends the packet that proves a fault.
"""
