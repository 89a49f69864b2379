"""The iptables backend: kube-proxy's chains, written as ``iptables-restore`` transactions."""
