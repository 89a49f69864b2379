"""The kube-proxy: it forwards a packet to a Service's address to one of the Service's endpoints.

``cli`` is the command and ``node`` the process, in which ``sync`` is the loop. A decision about a
packet is in ``desired``, its rules are in ``backends``. The proxy imports ``control.api`` and
``control.client``, and nothing else of the control plane. Start with ``node`` and
docs/proxy/design.md.
"""
