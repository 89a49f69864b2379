"""The shim: the process beside each container, which outlives the agent.

The agent starts it with ``python3 -IS`` (no site packages, no environment), in a tenth of the
agent's own start time. So it may import only small modules of the standard library, and of
control.linux ``syscalls``, ``processes`` and ``whole``. Start reading in main.py.
"""
