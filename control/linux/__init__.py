"""Linux for the agent, the shim and the lab: system calls, processes, whole-file writes, mounts.

Nothing here knows Kubernetes, and nothing of ours may be imported. The shim starts with
``syscalls``, ``processes``, ``usage`` and ``whole``, so these import only small modules.
"""
