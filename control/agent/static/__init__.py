"""Static Pods: those of files on the node, which run without an API server.

``manifest`` reads a file (pure), ``folder`` finds files, ``mirrors`` shows the Pods in the API.
"""
