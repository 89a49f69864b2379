"""What ``kubectl get`` shows of each kind: pure functions from JSON objects to cells."""
