"""The built-in runtime: Pods from namespaces, cgroups and overlayfs, with nothing in between."""
