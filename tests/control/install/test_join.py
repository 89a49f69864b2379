"""``podwire join`` as a whole, without this machine's units: what is refused, and repeated."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from control.api import kinds
from control.api.meta import Status
from control.api.node import Node
from control.client import ApiError, Client, UnreachableError
from control.client.errors import Operation
from control.install import cluster, discovery
from control.install import join as joining
from control.install.layout import InstallError, Layout, Program
from control.install.progress import Progress
from control.install.settings import MachineSettings, NodeSettings
from tests.support.control.joinable import TOKEN, Joinable

READYZ = Operation("get", "/readyz")
QUIET, PROGRAM = Progress(quiet=True), Program("/opt/podwire/bin/python")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[NodeSettings]:
    """The settings of each run that came as far as the units, which are not started."""
    found: list[NodeSettings] = []
    monkeypatch.setattr(joining, "check_machine", lambda *_: None)
    monkeypatch.setattr(joining, "start", lambda *args: found.append(args[2]))
    return found


def options(name: str = "n1", ip: str = "192.0.2.7") -> joining.NodeOptions:
    return joining.NodeOptions(MachineSettings(name=name, ips=(ip,)))


async def join(layout: Layout, joinable: Joinable, own: joining.NodeOptions) -> NodeSettings:
    return await joining.join(layout, PROGRAM, joinable.wanted, own, QUIET)


async def add_node(joinable: Joinable, name: str, ip: str, ready: str = "True") -> None:
    made = await joinable.admin.create(kinds.NODE, Node.parse({"metadata": {"name": name}}))
    status = Node.parse(
        {
            "status": {
                "addresses": [{"type": "InternalIP", "address": ip}],
                "conditions": [{"type": "Ready", "status": ready}],
            }
        }
    ).status
    await joinable.admin.update_status(kinds.NODE, made.model_copy(update={"status": status}))


async def test_a_node_joins_again_without_a_token(
    joinable: Joinable, tmp_path: Path, started: list[NodeSettings]
):
    layout = Layout(tmp_path / "node")
    await join(layout, joinable, options())
    certificate = (layout.node_pki / "agent-client-current.pem").read_bytes()
    assert await cluster.delete_token(joinable.admin, TOKEN.id)
    await join(layout, joinable, replace(options(), labels="a=b"))
    assert [each.labels for each in started] == ["", "a=b"]
    assert (layout.node_pki / "agent-client-current.pem").read_bytes() == certificate


@pytest.mark.parametrize("left", ["", "apiVersion: v1\nkind: Config\n"])
async def test_a_machine_that_was_half_joined_joins(
    joinable: Joinable, tmp_path: Path, started: list[NodeSettings], left: str
):
    layout = Layout(tmp_path / "node")
    layout.config.mkdir(parents=True)
    layout.agent.write_text(left)
    await join(layout, joinable, options())
    assert [each.server for each in started] == [joinable.server.url]


async def test_a_node_of_another_cluster_is_left_alone(
    joinable: Joinable, tmp_path: Path, started: list[NodeSettings]
):
    layout = Layout(tmp_path / "node")
    await join(layout, joinable, options())
    other = replace(joinable.wanted, hashes=(f"sha256:{'0' * 64}",))
    with pytest.raises(InstallError, match="another cluster: run podwire reset"):
        await joining.join(layout, PROGRAM, other, options(), QUIET)
    assert len(started) == 1


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (("n1", "192.0.2.9"), "has a Node n1 that is Ready: choose another --node-name"),
        (("n2", "192.0.2.7"), "Node n2 has an address of 192.0.2.7 too: .* another --node-ip"),
    ],
)
async def test_a_name_or_an_address_of_another_node_is_refused(
    joinable: Joinable,
    tmp_path: Path,
    started: list[NodeSettings],
    node: tuple[str, str],
    said: str,
):
    await add_node(joinable, *node)
    with pytest.raises(InstallError, match=said):
        await join(Layout(tmp_path / "node"), joinable, options())
    assert started == []


async def test_a_node_that_went_away_comes_back_by_its_name(
    joinable: Joinable, tmp_path: Path, started: list[NodeSettings]
):
    await add_node(joinable, "n1", "192.0.2.7", ready="Unknown")
    await join(Layout(tmp_path / "node"), joinable, options())
    assert len(started) == 1


@pytest.mark.parametrize(("year", "way"), [(1971, "ahead of"), (2199, "behind")])
def test_a_wrong_clock_is_told(year: int, way: str):
    skew = discovery._skew(f"Mon, 30 Nov {year} 08:00:00 GMT")
    with pytest.raises(InstallError, match=f"clock is .* s {way} "):
        discovery._check_clock(skew, "192.0.2.1:6443")


class Answers:
    """A client whose questions get these answers, one after the other."""

    def __init__(self, *answers: Exception | bytes) -> None:
        self._answers = list(answers)

    async def raw(self, path: str) -> bytes:
        assert path == "/readyz"
        match self._answers.pop(0):
            case Exception() as err:
                raise err
            case text:
                return text


async def test_a_server_that_is_not_ready_yet_is_waited_for():
    """A restarted server answers 500 while its cache fills, and systemd's socket 503 or nothing."""
    said: list[str] = []
    starting = ApiError(READYZ, Status(code=500, message="[-]informer-sync failed"))
    client = Answers(UnreachableError("it does not answer"), starting, b"ok")
    await cluster.wait_answer(cast(Client, client), said.append)
    assert len(said) == 2 and "informer-sync failed" in said[1]
