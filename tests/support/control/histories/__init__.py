"""Histories of concurrent clients of real API servers, and what must be true of each.

``model`` has the words, ``linear`` looks for an order of a key's calls, ``watched`` compares calls
with what watches brought, ``clients`` makes a history, ``site`` runs servers and disturbs them.
"""
