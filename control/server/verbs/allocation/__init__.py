"""The allocation of cluster IPs and node ports, which no two Services may share.

May import ``state`` and ``wire``. Start reading with ``service.py``; ``claims.py`` explains how a
value is reserved.
"""
