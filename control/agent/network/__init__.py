"""The node's network: routes or VXLAN to the other nodes, masquerading, and the CNI configuration.

(Being written by the lead at 13:35; use `control.agent.network.manager.NodeNetwork`.)
"""
