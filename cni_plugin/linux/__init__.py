"""The kernel's interfaces and the host's files, as the other rooms use them.

``netlink`` is the socket and ``uapi`` its numbers; ``namespace`` reads and changes one network
namespace; ``host`` is what a request gets to know of its machine. This room may import ``spec``.
"""
