"""Changes that can be taken back exactly: of a network namespace, of a node's files, of the API.

An act is prepared (what is there is read), then recorded, then done. To do it twice, to undo it
twice, and to undo what was never done is harmless.
"""
