"""Who decides on frames between Pods, and in which order a change is written."""

from collections.abc import Iterator
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from proxy.backends.ebpf.policy import Guard
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import NodeView
from proxy.policy import kernel
from proxy.policy.bridge import guard as frames
from proxy.policy.bridge.guard import FrameGuard, Surroundings
from proxy.policy.index import PolicyIndex

BRIDGE, PORT, OTHER = 7, 8, 9


class FakeMaps:
    """The maps, and what was done with them."""

    done: list[str]
    full = False
    is_on = Guard.UNGUARDED

    def guard(self) -> Guard:
        return FakeMaps.is_on

    def set_guard(self, guard: Guard) -> None:
        FakeMaps.is_on = guard
        self.done.append(guard.name)

    def clear(self) -> None:
        self.done.append("clear")

    def drop(self, gone) -> None:
        self.done.append("drop")

    def end_flows(self, addresses) -> None:
        if addresses:
            self.done.append(f"end {sorted(map(str, addresses))}")

    def put(self, entries) -> None:
        if self.full:
            raise KernelRefusedError("ebpf: writing map policy_peers: full")
        self.done.append("put")


class World:
    """The proxy around, and a kernel that does what it is told."""

    ports: dict[int, int] | None = None
    tables: tuple[str, ...] = ()
    can_filter = True
    shown = 0

    def __init__(self) -> None:
        self.index = PolicyIndex()
        around = Surroundings(
            lambda: NodeView("n1"), ProxySettings, lambda: None, lambda: self.ports
        )
        self.frames = FrameGuard(self.index, around)

    def write(self) -> tuple[bool, str]:
        """Bring all to the present state; return whether the chooser changed, and the rules."""
        is_new, _ = self.frames.look()
        text = self.frames.plan(self.index.everything(), whole=True)
        self.frames.before()
        FakeMaps.done.append("rules")
        self.frames.after()
        return is_new, text


@pytest.fixture
def world(monkeypatch) -> Iterator[World]:
    made = World()
    FakeMaps.done, FakeMaps.full, FakeMaps.is_on = [], False, Guard.UNGUARDED
    monkeypatch.setattr(frames, "AdmissionMaps", FakeMaps)
    monkeypatch.setattr(frames, "are_pinned", lambda: made.ports is not None)
    monkeypatch.setattr(kernel, "bridges_of", lambda *_: ([], frozenset({OTHER})))
    monkeypatch.setattr(kernel, "has_bridge_tables", lambda: made.can_filter)
    monkeypatch.setattr(kernel, "exists", lambda one: one in made.tables)
    monkeypatch.setattr(kernel, "bridge_removal", lambda: "remove the bridges' rules\n")

    def show(_bridges) -> str:
        made.shown += 1
        return ""

    monkeypatch.setattr(kernel, "show_to_rules", show)
    yield made


def test_bridges_show_frames_to_rules_where_no_program_decides(world: World) -> None:
    assert world.write() == (False, "remove the bridges' rules\n")
    assert (world.shown, FakeMaps.done) == (1, ["rules"])
    world.ports, world.can_filter = {PORT: BRIDGE}, False
    assert world.write()[0] is False
    assert FakeMaps.done == ["rules", "rules", "UNGUARDED"]


def test_entries_go_before_the_rules_change_and_come_after(world: World) -> None:
    world.ports = {PORT: BRIDGE}
    is_new, text = world.write()
    assert (is_new, world.shown, world.frames.by_programs) == (True, 0, True)
    assert "foreign { 9 }" in text
    assert FakeMaps.done == ["LEARNING", "clear", "drop", "rules", "put", "ENFORCING"]
    FakeMaps.done.clear()
    world.write()  # the programs enforce already: nobody is admitted without a look
    assert FakeMaps.done == ["clear", "drop", "rules", "put", "ENFORCING"]


def test_programs_learn_nothing_while_rules_are_in_force(world: World, monkeypatch) -> None:
    monkeypatch.setattr(kernel, "exists", lambda _: True)
    world.ports = {PORT: BRIDGE}
    world.write()
    assert "LEARNING" not in FakeMaps.done


def test_an_ended_pods_flows_go_before_anothers_frames_come(world: World) -> None:
    world.ports = {PORT: BRIDGE}
    world.write()
    FakeMaps.done.clear()
    ended = {ip_address("10.244.1.7")}
    world.frames.plan(world.index.take(), ended, whole=False)
    world.frames.before()
    assert FakeMaps.done == ["drop", "end ['10.244.1.7']"]
    world.frames.before()
    assert FakeMaps.done[2:] == ["drop"]


@pytest.mark.parametrize("pinned", [True, False])
def test_ended_pods_are_remembered_while_programs_know_their_flows(
    world: World, monkeypatch, *, pinned: bool
) -> None:
    monkeypatch.setattr(frames, "are_pinned", lambda: pinned)
    world.frames.plan(world.index.take(), {ip_address("10.244.1.7")}, whole=False)
    world.frames.plan(world.index.take(), whole=False)
    world.ports = {PORT: BRIDGE}
    world.write()
    assert ("end ['10.244.1.7']" in FakeMaps.done) == pinned


def test_a_full_map_leaves_all_to_the_rules(world: World) -> None:
    world.ports, FakeMaps.full = {PORT: BRIDGE}, True
    with pytest.raises(KernelRefusedError):
        world.write()
    FakeMaps.done.clear()
    is_new, text = world.write()
    assert (is_new, world.shown, text) == (True, 1, "remove the bridges' rules\n")
    assert FakeMaps.done == ["rules", "UNGUARDED"]


def test_a_port_that_comes_after_the_look_waits_for_the_next_one(world: World, monkeypatch) -> None:
    """Its Pod may have an address that was taken after the sets were read."""
    bridge = SimpleNamespace(name="br0", number=BRIDGE)
    monkeypatch.setattr(kernel, "bridges_of", lambda *_: ([bridge], frozenset()))
    world.ports = {PORT: BRIDGE}
    assert f"guarded {{ {PORT} }}" in world.write()[1]
    world.frames.look()
    world.ports = {PORT: BRIDGE, PORT + 1: BRIDGE}  # the proxy's thread sees the new port
    assert world.frames.plan(world.index.take(), whole=False) == ""
    world.frames.look()
    assert f"guarded {{ {PORT + 1} }}" in world.frames.plan(world.index.take(), whole=False)
