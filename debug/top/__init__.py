"""``podwire top``: which Services are called most now, and who answers, over all nodes.

``count`` makes rates of two readings of conntrack; ``gather`` reads all nodes again and again;
``draw`` makes the table; ``cli`` declares and carries out.
"""
