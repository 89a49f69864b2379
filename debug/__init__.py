"""Network debugging: what a kernel would do with a packet, what it did, and what is wrong.

A folder for each command. Analysis is a pure function of what was read before: ``kernel`` (the
network namespaces), ``cluster`` (the API's objects), ``snapshot`` (both, as one file); ``output``
writes what was found. Start at ``places``, which finds the namespaces. May import every other room;
no other room imports this one.
"""
