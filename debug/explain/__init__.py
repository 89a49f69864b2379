"""What the kernels would do with a packet, from what is installed: no packet is sent.

``walk`` leads it from hook to hook, ``wires`` from device to device, ``space`` asks one network
namespace; ``result`` is the tree of what may become of it. Start reading in ``walk``.
"""
