"""Make a machine a control plane or a node, by systemd; change it, and undo it.

``cli`` has the commands; ``control_plane``, ``join``, ``upgrade`` and ``reset`` the work of each.
Below them: ``preflight`` (what a machine lacks), ``credentials`` (certificates), ``cluster``
(objects of the API), ``discovery`` (what a token proves), ``units`` (text of systemd's units),
``systemd`` (starts them), ``settings`` (the files in /etc/podwire) and ``layout`` (where all is).
Names and steps are kubeadm's where it has the thing. The data plane is executed, not imported.
"""
