"""Measures the API server beside another checkout, and beside another server.

``__main__`` takes turns and judges; ``requests`` says what is asked, ``server`` starts a server and
reads what it uses, ``rights`` times authorization alone. Servers are driven by commands and HTTP.
"""
