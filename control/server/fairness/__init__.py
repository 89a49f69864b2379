"""Priority and fairness: which requests go on, which wait, and which are refused.

``control/api/flows.py`` has the objects that every cluster has, ``schemas`` says which flow a
request belongs to, ``level`` lets flows take turns, and ``control`` holds both beside what the
cluster's objects say. Start reading in control.py.
Source: KEP-1040, k8s.io/apiserver/pkg/util/flowcontrol
"""
