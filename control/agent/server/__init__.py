"""The agent's HTTPS server, with kubelet's paths: logs, exec, attach, port-forward.

Parsing and formats are pure (channels, logtext, lookup, spdy); app, session and forward do I/O. May
import control.agent.config, control.runtime.base and control.linux. Start reading in app.py.
"""
