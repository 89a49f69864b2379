"""The node's network: routes or VXLAN to the other nodes, masquerading, the CNI configuration."""
