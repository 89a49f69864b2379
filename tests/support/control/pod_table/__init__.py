"""Small Pods with the status that a kubelet writes for each of them."""
