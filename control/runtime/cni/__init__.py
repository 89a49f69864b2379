"""Calling CNI plugins as libcni of github.com/containernetworking/cni does."""
