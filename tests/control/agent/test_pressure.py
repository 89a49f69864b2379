"""What a node is short of, and which Pod goes for it."""

import pytest

from control.agent.node.describe import HostFacts, allocatable
from control.agent.pods.static import StaticPod
from control.agent.pressure import (
    DEFAULT,
    PodUse,
    ThresholdError,
    exceeded,
    message,
    parse_thresholds,
    ranked,
    refusal,
    reserved,
)
from control.api.pod import Pod

MI = 2**20
ROOMY = HostFacts(
    memory=1000 * MI,
    memory_available=500 * MI,
    disk=1000 * MI,
    disk_available=500 * MI,
    inodes=1000,
    inodes_available=500,
)


def pod(name: str, request: str = "", priority: int = 0, **meta: object) -> Pod:
    resources = {"requests": {"memory": request}} if request else {}
    return Pod.parse(
        {
            "metadata": {"name": name, "namespace": "default", "uid": name, **meta},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": resources}]},
        }
    )


def machine(**facts: int) -> HostFacts:
    values = {name: getattr(ROOMY, name) for name in HostFacts.__dataclass_fields__}
    return HostFacts(**(values | facts))


@pytest.mark.parametrize(
    ("facts", "conditions"),
    [
        ({}, []),
        ({"memory_available": 100 * MI}, []),
        ({"memory_available": 100 * MI - 1}, ["MemoryPressure"]),
        ({"disk_available": 99 * MI}, ["DiskPressure"]),
        ({"inodes_available": 49}, ["DiskPressure"]),
        ({"inodes": 0, "inodes_available": 0}, []),
        ({"disk_available": 0, "memory_available": 0}, ["MemoryPressure", "DiskPressure"]),
    ],
)
def test_what_is_short(facts, conditions):
    met = exceeded(parse_thresholds(DEFAULT), machine(**facts))
    assert [it.condition for it in met] == conditions


@pytest.mark.parametrize(
    "text",
    ["memory.available", "memory<1Mi", "memory.available<x", "nodefs.available<101%"],
)
def test_other_texts_are_no_thresholds(text):
    with pytest.raises(ThresholdError):
        parse_thresholds(text)


def test_who_uses_more_than_asked_goes_first_then_the_less_important():
    uses = [
        PodUse(pod("modest", "100Mi"), {"c": 50 * MI}),
        PodUse(pod("important", "10Mi", 1000), {"c": 900 * MI}),
        PodUse(pod("small"), {"c": 20 * MI}),
        PodUse(pod("large", "10Mi"), {"c": 40 * MI}),
        PodUse(pod("critical", "", 2 * 10**9), {"c": 999 * MI}),
        PodUse(StaticPod.parse(pod("static").wire()), {"c": 999 * MI}),
    ]
    order = [it.pod.metadata.name for it in ranked(uses, "memory")]
    assert order == ["large", "small", "important", "modest"]


def test_what_eviction_keeps_is_not_allocatable():
    facts = machine(inodes=1000)
    assert reserved(parse_thresholds(DEFAULT), facts) == {
        "memory": 100 * MI,
        "ephemeral-storage": 100 * MI,
    }
    left = allocatable(facts, reserved(parse_thresholds(DEFAULT), facts))
    assert left == {"memory": "921600Ki", "ephemeral-storage": "921600Ki"}
    all_of_it = reserved(parse_thresholds("memory.available<1Pi"), facts)
    assert allocatable(facts, all_of_it) == {"memory": "0Ki"}


def test_the_message_is_kubelets():
    (threshold,) = parse_thresholds("memory.available<10%")
    use = PodUse(pod("web", "1Mi"), {"c": 5 * MI})
    assert message(use, threshold, machine(memory_available=52 * 1024)) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Ki. "
        "Container c was using 5Mi, request is 1Mi, has larger consumption of memory. "
    )


@pytest.mark.parametrize(
    ("conditions", "one", "refused"),
    [
        ([], pod("a"), False),
        (["MemoryPressure"], pod("a"), True),
        (["MemoryPressure"], pod("a", "1Mi"), False),
        (["DiskPressure"], pod("a", "1Mi"), True),
        (["DiskPressure", "MemoryPressure"], pod("a", "1Mi"), True),
        (["DiskPressure"], pod("a", "", 2 * 10**9), False),
    ],
)
def test_who_is_admitted(conditions, one, refused):
    why = refusal(one, conditions)
    assert bool(why) is refused
    assert not refused or why == f"The node had condition: [{' '.join(conditions)}]. "
