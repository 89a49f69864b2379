"""The process beside each container: it outlives the agent, so it imports almost nothing.

The agent starts it with ``python3 -IS`` (no site packages, no environment), which takes a tenth of
the agent's own start-up; only the standard library and this folder may be imported here.
"""
