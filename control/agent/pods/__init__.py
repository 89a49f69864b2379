"""One Pod on this node, from its object to its processes and back to its status.

Decisions are pure functions (decide, status, render, payload, environment); worker and actions have
the effects. May import control.runtime's protocols (base), control.client and control.linux. Start
reading in worker.py, whose picture shows the loop, then decide.py.
"""
