"""pods/log, pods/exec, pods/attach and pods/portforward: requests that the Pod's agent answers.

(Being written by helper 6 from 13:35.)
"""
