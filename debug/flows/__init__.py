"""``podwire flows``: the connections that each node's kernel tracks, in the names of the cluster.

``naming`` joins an entry of conntrack with Services, Pods and nodes; ``watch`` follows the events
of all nodes at once; ``cli`` declares and carries out.
"""
