"""The CNI plugin: it attaches containers to networks (CNI specification 1.1.0).

It imports no other part of podwire and no package, because most runtimes start a process for each
call. Start reading at ``verbs/answer.py``, what a call does; the client ``bin/podwire-cni`` hands
calls to ``server``, or executes ``__main__``.
"""
