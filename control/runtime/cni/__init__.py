"""Calls CNI plugins as libcni (github.com/containernetworking/cni) does.

``conflist`` parses the configuration, ``plugin`` executes one plugin, ``network`` has the verbs.
May import control.runtime.base and control.linux. Start reading in network.py.
"""
