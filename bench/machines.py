"""The seconds to make a machine with systemd and containerd a node, from a ready root.

    bin/bench machines [--rounds 3]

Boots machines of systemd-nspawn, as tests/e2e/test_machines.py does, and provisions them as
vagrant/Vagrantfile does. The first is the control plane, and a node too. Then, round after round, a
fresh one joins: the steps are podwire's wheel and containerd's settings (``install.sh``), ``podwire
join`` (``worker.sh``), and the wait until its Node is Ready. Fails if the median is over 20 s.

Beside other work most of that is waiting for a processor. So each round has a peer, as in
``bin/bench lab``: what the start of ``podwire lab --help`` takes over its own processor time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.lab import podwire, show
from tests.support.e2e.harness import CHECKOUT
from tests.support.machines.machines import Machine, Site, site
from tests.support.machines.provision import (
    JOIN,
    KUBECONFIG,
    make_bundle,
    ready_root,
    script,
    upload,
)

MOST_SECONDS = 20.0
_STEPS = ("install.sh", "worker.sh", "until Ready")


class Stopwatch:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        before, self._last = self._last, time.monotonic()
        return self._last - before


def settings() -> str:
    """Return the cluster's settings of vagrant/lab.yaml."""
    argv = ["ruby", str(CHECKOUT / "vagrant/settings.rb")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return str(done.stdout.partition("---\n")[2])


def make_control_plane(machine: Machine, bundle: bytes) -> None:
    """Provision the first machine."""
    upload(machine, "podwire-bundle.tar", bundle)
    upload(machine, "podwire-cluster.yaml", settings().encode())
    script(machine, "install.sh")
    script(machine, "control-plane.sh", machine.address)


def wait_ready(where: Site, name: str) -> None:
    """Wait until a Node is there, and Ready."""
    kubeconfig = where.scratch / "kubeconfig"
    if not kubeconfig.exists():
        kubeconfig.write_text(where.machines["node1"].run("cat", KUBECONFIG))
    path = f"{os.environ['PATH']}:{CHECKOUT / '.venv/bin'}"
    for condition in ("create", "condition=Ready"):
        subprocess.run(
            [
                *("nsenter", f"--target={where.first}", "--net", "kubectl"),
                *(f"--kubeconfig={kubeconfig}", f"--cache-dir={where.scratch / 'cache'}"),
                *("wait", f"node/{name}", f"--for={condition}", "--timeout=120s"),
            ],
            env=os.environ | {"PATH": path},
            stdout=subprocess.DEVNULL,
            check=True,
        )


def one_round(where: Site, bundle: bytes, number: int) -> tuple[float, ...]:
    """Boot a machine, and make it a node; return the seconds of each step."""
    control = where.machines["node1"]
    machine = where.add(f"node{number}", number)
    machine.wait()
    watch = Stopwatch()
    upload(machine, "podwire-bundle.tar", bundle)
    script(machine, "install.sh")
    installed = watch.lap()
    upload(machine, "podwire-join", control.run(*JOIN).encode())
    script(machine, "worker.sh", machine.address)
    joined = watch.lap()
    wait_ready(where, machine.name)
    return installed, joined, watch.lap()


def main() -> None:
    """Measure, print, and fail over the limit."""
    parser = argparse.ArgumentParser(prog="bin/bench machines", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found, slowness = [], []
    with tempfile.TemporaryDirectory() as folder, site(ready_root()) as where:
        bundle = make_bundle(Path(folder)).read_bytes()
        first = where.add("node1", 1)
        first.wait()
        make_control_plane(first, bundle)
        for number in range(2, 2 + options.rounds):
            before = podwire("lab", "--help").slowness
            found.append(one_round(where, bundle, number))
            slowness.append(statistics.mean((before, podwire("lab", "--help").slowness)))
    print(f"a node from a ready root, {options.rounds} rounds:")
    for step, seconds in zip(_STEPS, zip(*found, strict=True), strict=True):
        show(step, list(seconds))
    totals = [sum(each) for each in found]
    show("in all", totals)
    show("the peer takes over its processor time", slowness, "times")
    fair = [each / slow for each, slow in zip(totals, slowness, strict=True)]
    show("without other work", fair)
    if (median := statistics.median(fair)) > MOST_SECONDS:
        sys.exit(f"a node takes {median:.1f} s, more than {MOST_SECONDS:.0f} s")


if __name__ == "__main__":
    main()
