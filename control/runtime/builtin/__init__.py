"""The built-in runtime: Pods made of namespaces, cgroups and overlayfs, without a daemon.

``runtime`` implements control.runtime.base; each container has a shim (control.runtime.shim), a
process that outlives the agent. May import control.runtime.base, control.runtime.shim and
control.linux. Start reading in runtime.py. On disk, below ROOT:

    sandboxes/ID/   config.json  network.json  hosts  hostname  resolv.conf  shm/  ns/
    containers/ID/  config.json  spec.json  started.json  exit.json  shim.log  upper/ work/
"""
