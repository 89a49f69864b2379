"""The controllers, in kube-controller-manager's place.

A controller is a pure function ``reconcile(cluster, key, now) -> actions``; ``loop`` feeds it and
``execute`` carries the actions out. May import control.client and control.api. Start reading in
loop.py, whose picture shows the flow; ``table`` lists the controllers.
"""
