"""Measures the API server beside another server, and beside another checkout.

``rows`` is what users wait for, with many clients: ``load`` is one client process, ``clients`` runs
several, ``servers`` starts a server with each store and a peer, ``plots`` shows what was seen.
``verbs`` is processor time beside another checkout: ``requests`` says what is asked, ``server``
starts a server and reads what it uses, ``rights`` times authorization alone.
"""
