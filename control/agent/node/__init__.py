"""This node in the API: its Node object and its Lease.

``describe`` computes what to report (pure but for ``look``); ``register`` reports it. May import
control.api, control.client and control.linux. Start reading in register.py.
"""
