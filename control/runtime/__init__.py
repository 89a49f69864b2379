"""Container runtimes, behind one protocol: ``base``.

``builtin`` runs Pods with the kernel alone, ``shim`` is the process beside each of its containers,
``cri`` runs them through containerd and its like. ``images`` is the local image store, ``cni`` the
caller of CNI plugins. May import control.linux. Start reading in base.py, then builtin/runtime.py.
"""
