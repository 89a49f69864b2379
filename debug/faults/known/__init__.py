"""The catalog of faults, a file for each place where they are: links, rules, state, Pods, the API.

Each file has a tuple FAULTS. ``unmade`` has those that a lab of namespaces cannot have, and why.
Sources are threads in which people told of the fault; shared facts about them stand in the docs.
"""
