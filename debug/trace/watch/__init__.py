"""Listening to kernels: taps, trace events, conntrack events, dropped packets, and all of them.

Each listener is a socket of the network namespace where it was made, so that nothing of it is left
when the process ends. The decoding of each is a function of bytes.
"""
