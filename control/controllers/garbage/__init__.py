"""What nothing wants any more: dependents of owners, Pods of nodes, contents of namespaces."""
