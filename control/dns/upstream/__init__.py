"""Names outside the cluster: other resolvers are asked, as by CoreDNS' plugins forward and cache.

``routes`` says whom to ask for a name, ``reply`` reads what comes back, ``cache`` keeps it; these
are pure. ``exchange`` has the sockets, ``forwarder`` decides who is asked when, ``loop`` finds
resolvers that lead back here.
May import ``message`` and ``records`` of ``control.dns``. Start reading in forwarder.py.
"""
