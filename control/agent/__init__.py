"""The per-node agent, in kubelet's place: runs the Pods of its node and serves their streams.

``node`` registers the node, ``pods`` runs one worker for each Pod, ``server`` answers kubectl logs,
exec, attach and port-forward. May import control.node_network, control.runtime, control.client and
control.api. Start reading in agent.py, then pods/worker.py and pods/decide.py.
"""
