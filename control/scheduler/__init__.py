"""The scheduler: binds Pods to nodes, in kube-scheduler's place.

Everything is pure but ``loop``, which has the informers and the requests, and ``cli``. May import
control.client and control.api. Start reading in loop.py, whose picture shows the flow, then
decide.py.
"""
