"""What a cluster knows of its machines by the cloud: the node and the node lifecycle controllers.

decide.py is pure. controller.py initializes Nodes that register with the cloud's taint, and keeps
their addresses; lifecycle.py deletes Nodes whose machines are gone, and marks those that are off.
"""
