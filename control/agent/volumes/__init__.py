"""Volumes that outlive Pods, as one node sees them.

``claims`` finds the folder behind a Pod's claim; ``provisioner`` makes and removes the folders of
classes whose provisioner is podwire's, with ``plan`` for what is due. How a Pod gets them mounted
is in control/agent/pods/volumes.
"""
