"""The lab: a multi-node cluster on this machine, in network namespaces of its own.

``main`` is the command podwire, ``cli`` declares the lab's commands, ``spec`` its machines. May
import every room, through public names; no room imports the lab. Start reading in up.py, then
keeper.py, whose picture shows the processes.
"""
