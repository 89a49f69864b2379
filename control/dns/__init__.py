"""The cluster's DNS server: names of Services and Pods, as Kubernetes' DNS specification 1.1 says.

``records`` and ``zone`` decide what a name means, ``message`` and ``answer`` make packets of it;
all of that is pure. Sockets, informers and clocks live in ``udp``, ``tcp``, ``web`` and ``serve``.
May import ``control.api`` and ``control.client``. Start reading in answer.py.
"""
