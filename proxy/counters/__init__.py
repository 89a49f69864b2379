"""Per-Service counters, which the kernel keeps in a table of their own, whatever the backend."""
