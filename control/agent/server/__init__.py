"""The agent's HTTPS server: logs, exec, attach, port-forward, as the kubelet's API has them.

(Being written by helper 6 from 13:35; use `control.agent.server.app`.)
"""
