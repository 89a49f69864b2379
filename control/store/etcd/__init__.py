"""The store in etcd v3: several API servers share it.

``store`` is the implementation, ``connection`` makes calls and chooses among members, ``messages``
says what is asked in etcd's own words. Start with ``store``.
"""
