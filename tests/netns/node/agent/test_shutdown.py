"""An agent that ends with its machine: Pods end by their own grace, the critical ones last."""

import signal
from pathlib import Path

import pytest

from control.api import kinds
from tests.support.control.cluster import until

# It ends by itself, and says who has ended before.
ENDS = {
    "command": [
        "sh",
        "-c",
        "trap 'ls /out >/out/$HOSTNAME; exit 0' TERM; while :; do sleep 0.1; done",
    ]
}
MESSAGE = "Pod was terminated in response to imminent node shutdown."


@pytest.fixture
def flags(tmp_path, monkeypatch) -> tuple[str, ...]:
    fake = tmp_path / "bin" / "systemctl"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ncat "{tmp_path}/state"\n[ running = "$(cat "{tmp_path}/state")" ]\n'
    )
    fake.chmod(0o755)
    says(tmp_path, "running")
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    return ("--shutdown-grace-period=40", "--shutdown-grace-period-critical-pods=20")


def says(folder: Path, state: str) -> None:
    (folder / "state").write_text(f"{state}\n")


async def make_pods(node, out: Path) -> None:
    """Make two Pods that write their names as they end, one of them critical, and a done one."""
    share = {"volumeMounts": [{"name": "out", "mountPath": "/out"}]}
    more = {
        "volumes": [{"name": "out", "hostPath": {"path": str(out)}}],
        "terminationGracePeriodSeconds": 30,
        "hostNetwork": False,
    }
    await node.create("plain", ENDS | share, **more)
    critical = await node.create(
        "critical", ENDS | share, **more, priorityClassName="system-node-critical"
    )
    assert critical.spec.priority > 2 * 10**9
    await node.create("job", {"command": ["true"]}, restartPolicy="Never")
    await node.ready("plain")
    await node.ready("critical")

    async def done() -> bool:
        return (await node.get("job")).status.phase == "Succeeded"

    await until(done, f"the end of a Pod\n{node.log()}")


async def stopped_with_the_machine(node, folder: Path) -> None:
    """Begin the machine's end, and wait until the agent has ended."""
    says(folder, "stopping")

    async def ended() -> bool:
        return node.process.poll() is not None

    node.process.send_signal(signal.SIGTERM)
    await until(ended, f"the end of the agent\n{node.log()}")
    assert node.process.returncode == 0


async def test_pods_end_with_the_machine(node, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    await make_pods(node, out)

    node.process.send_signal(signal.SIGTERM)  # an update of the agent: Pods run on
    assert node.process.wait(60) == 0
    assert [*out.iterdir()] == []
    node.start()

    await node.create("later", {}, hostNetwork=True)
    await node.ready("later")  # the next agent is there
    await stopped_with_the_machine(node, tmp_path)
    for name in ("plain", "critical"):
        status = (await node.get(name)).status
        assert (status.phase, status.reason, status.message) == ("Failed", "Terminated", MESSAGE)
        (container,) = status.container_statuses
        assert container.state.terminated.exit_code == 0  # it was not killed
        found = {it.type: it for it in status.conditions}
        target = found["DisruptionTarget"]
        assert (target.status, target.reason) == ("True", "TerminationByKubelet")
        assert (found["Ready"].status, found["Ready"].reason) == ("False", "PodFailed")
    assert (await node.get("job")).status.phase == "Succeeded"
    assert (out / "plain").read_text().split() == ["plain"]
    assert (out / "critical").read_text().split() == ["critical", "plain"]
    ready = next(
        it
        for it in (await node.client.get(kinds.NODE, None, "n1")).status.conditions
        if it.type == "Ready"
    )
    assert (ready.status, ready.reason, ready.message) == (
        *("False", "KubeletNotReady", "node is shutting down"),
    )
