"""Starts a lab again whose processes have ended: stopped, killed, or gone with a reboot."""

import dataclasses
import re
import socket
import time
from urllib.parse import urlsplit

import yaml

from control.linux import whole
from lab import up
from lab.cgroups import remove_cgroups
from lab.components import save_components
from lab.credentials import complete_credentials
from lab.parts import machines
from lab.published import publish_again
from lab.readiness import wait_ready
from lab.report import Steps
from lab.spec import LabSpec
from lab.state import LabDir
from lab.status import stopped


def resume(lab: LabDir, spec: LabSpec, steps: Steps) -> None:
    """Start the machines that are not stopped, with the files that they have.

    Raises LaunchError, NotReadyError, BackendMissingError, OSError.
    """
    began = time.time()
    up.prepare_host(spec, steps)
    remove_cgroups(lab)  # of a lab that was killed
    for machine in machines(spec):
        save_components(lab, machine)  # this podwire's
    complete_credentials(lab, spec, machines(spec))
    with steps.step(f"{len(spec.nodes)} nodes and the control plane", animated=False) as say:
        management = listen(lab)
        if moved := point_kubeconfig(lab, management.getsockname()[1]):
            say(f"the API server has another port, because {moved} is taken: fetch the kubeconfig")
        up.start(lab, spec, management)
    lab.write_spec(dataclasses.replace(spec, stopped=False))
    with steps.step("nodes ready") as say:
        names = {node.name for node in spec.nodes} - stopped(spec) | {*spec.hollow_names}
        wait_ready(lab, names, say, since=began)
    publish_again(lab, steps)


def listen(lab: LabDir) -> socket.socket:
    """Make the API server's socket for kubectl, at the port of the kubeconfig if it is free."""
    try:
        return socket.create_server(("127.0.0.1", known_port(lab)), backlog=1024)
    except OSError:
        return socket.create_server(("127.0.0.1", 0), backlog=1024)


def known_port(lab: LabDir) -> int:
    """Return the port that the kubeconfig names; raises OSError, ValueError."""
    document = yaml.safe_load(lab.kubeconfig.read_text())
    return urlsplit(document["clusters"][0]["cluster"]["server"]).port or 0


def point_kubeconfig(lab: LabDir, port: int) -> int | None:
    """Let the kubeconfig name a port; return the port that it named, if that is another."""
    before = known_port(lab)
    if before == port:
        return None
    text, owner = lab.kubeconfig.read_text(), lab.kubeconfig.stat()
    changed = re.sub(r"(server: https://127\.0\.0\.1:)\d+", rf"\g<1>{port}", text)
    whole.write(lab.kubeconfig, changed, 0o600)
    lab.chown(owner.st_uid, owner.st_gid)
    return before
