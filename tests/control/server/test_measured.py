"""metrics.k8s.io: what agents say is used, as kubectl top and other clients see it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import aiohttp
import pytest

from control.agent.server.stats import (
    cadvisor_metrics,
    kubelet_metrics,
    resource_metrics,
    summary,
)
from control.api import kinds
from control.metrics import Registry
from control.runtime.base import Container, Phase, PodRef, RuntimeState, Sandbox
from control.runtime.builtin.cgroups import Cgroups, Layout
from control.runtime.builtin.usage import of_folders, of_machine
from control.runtime.used import RuntimeUsage, Usage
from control.server.scrape import ScrapeError, read, scrape_once
from control.server.state.measured import Measured, NodeSamples, Sample
from control.server.wire.exposition import samples
from tests.support.control.requests import Api
from tests.support.control.streaming import NODE, Streaming, streaming

METRICS = "/apis/metrics.k8s.io/v1beta1"
REF = PodRef("default", "web", "u")


def container(name: str, started: float = 50.0) -> Container:
    phase = Phase.RUNNING
    return Container(name, "box", REF, name, 0, phase, "i", "i", 0.0, started=started)


def test_an_agents_text_is_the_kubelets():
    used = RuntimeUsage(100.5, Usage(7.25, 4096), {"a": Usage(1.5, 1024), "b": Usage(0.5, 1)})
    text = resource_metrics(used, [container("a"), container("b"), container("gone")])
    assert text.splitlines()[:7] == [
        "# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the"
        " container in core-seconds",
        "# TYPE container_cpu_usage_seconds_total counter",
        'container_cpu_usage_seconds_total{container="a",namespace="default",pod="web"} 1.5 100500',
        'container_cpu_usage_seconds_total{container="b",namespace="default",pod="web"} 0.5 100500',
        "# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in"
        " core-seconds",
        "# TYPE node_cpu_usage_seconds_total counter",
        "node_cpu_usage_seconds_total 7.25 100500",
    ]
    lines = text.splitlines()
    assert 'pod_memory_working_set_bytes{namespace="default",pod="web"} 1025 100500' in lines
    assert read(text) == NodeSamples(
        Sample(100.5, 7.25, 4096),
        {("default", "web"): {"a": Sample(100.5, 1.5, 1024, 50), "b": Sample(100.5, 0.5, 1, 50)}},
    )


def test_cadvisors_names_are_there_for_dashboards():
    used = RuntimeUsage(100.5, Usage(7.25, 4096), {"a": Usage(1.5, 1024)})
    found = list(samples(cadvisor_metrics(used, [container("a"), container("gone")])))
    assert [(it.name, it.value, it.at) for it in found] == [
        ("container_cpu_usage_seconds_total", 1.5, 100.5),
        ("container_memory_working_set_bytes", 1024, 100.5),
        ("container_start_time_seconds", 50, 100.5),
    ]
    assert found[0].labels == {
        "container": "a",
        "id": "/pods/u/a",
        "image": "i",
        "name": "a",
        "namespace": "default",
        "pod": "web",
    }


def test_the_agent_says_what_runs():
    ended = replace(container("b"), phase=Phase.EXITED)
    boxes = (Sandbox("s", REF, 0, True, 0.0), Sandbox("t", REF, 0, False, 0.0))
    counted = Registry()
    counted.counter("kubelet_own", "Something that the agent counts.").add()
    running = RuntimeState(boxes, (container("a"), container("c"), ended))
    text = kubelet_metrics("n", running, counted)
    found = [(it.name, it.value, it.labels) for it in samples(text)]
    assert found[:4] == [
        ("kubelet_node_name", 1, {"node": "n"}),
        ("kubelet_running_pods", 1, {}),
        ("kubelet_running_containers", 2, {"container_state": "running"}),
        ("kubelet_running_containers", 1, {"container_state": "exited"}),
    ]
    assert "process_cpu_seconds_total" in text and "kubelet_own 1\n" in text


def test_an_agents_summary():
    used = RuntimeUsage(100.0, Usage(7.25, 4096), {"a": Usage(1.5, 1024), "b": Usage(0.5, 1)})
    found = summary("n", 0.0, used, [container("a"), container("b")])
    assert found["node"]["nodeName"] == "n"
    assert found["node"]["cpu"]["usageCoreNanoSeconds"] == 7_250_000_000
    (item,) = found["pods"]
    assert item["podRef"] == {"name": "web", "namespace": "default", "uid": "u"}
    assert item["cpu"]["usageCoreNanoSeconds"] == 2_000_000_000
    assert [it["memory"]["workingSetBytes"] for it in item["containers"]] == [1024, 1]


def node_samples(at: float, cpu: float, start: float = 1.0, **parts: float) -> NodeSamples:
    made = {name: Sample(at, used, 1, start) for name, used in parts.items()}
    return NodeSamples(Sample(at, cpu, 1), {("d", "p"): made})


def cores(found: Measured) -> dict[str, float]:
    return {name: use.cores for name, use in found.pod("n", ("d", "p")).items()}


def test_use_is_an_average_between_two_samples():
    found = Measured()
    found.take("n", node_samples(100, 10, start=95, a=1))
    assert found.node("n") is None and cores(found) == {}
    found.take("n", node_samples(110, 15, start=95, a=3))
    use = found.node("n")
    assert use is not None and (use.cores, use.window, use.at) == (0.5, 10, 110)
    assert cores(found) == {"a": 0.2}
    found.take("n", node_samples(105, 15, a=99))  # late: it says nothing new
    assert cores(found) == {"a": 0.2}


def test_a_container_counts_from_its_start_until_there_are_two_samples():
    found = Measured()
    found.take("n", node_samples(109, 1, start=100, a=4.5))
    assert cores(found) == {}  # too young
    found.take("n", node_samples(120, 1, start=110, a=5))  # another one of this name
    assert cores(found) == {"a": 0.5}
    found.take("n", node_samples(130, 1, start=110, a=5, b=1))
    assert cores(found) == {"a": 0.0, "b": 0.05}
    found.take("n", node_samples(140, 1, start=138, c=1))
    assert cores(found) == {}  # of one container nothing is known
    found.forget("n")
    assert found.node("n") is None


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (
            {
                "cpu.stat": "usage_usec 2500000\nuser_usec 1",
                "memory.current": "4096\n",
                "memory.stat": "anon 1\ninactive_file 96\n",
            },
            Usage(2.5, 4000),
        ),
        (
            {
                "cpuacct.usage": "2500000000\n",
                "memory.usage_in_bytes": "4096",
                "memory.stat": "inactive_file 4096\ntotal_inactive_file 96\n",
            },
            Usage(2.5, 4000),
        ),
        ({"cpu.stat": "usage_usec 0\n", "memory.current": "1", "memory.stat": ""}, Usage(0, 1)),
        ({"cpu.stat": "nr_periods 0\nnr_throttled 0"}, None),
        ({}, None),
    ],
)
def test_control_groups_of_both_versions_are_read(tmp_path: Path, files, wanted):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert of_folders([tmp_path, tmp_path / "absent"]) == wanted


def test_the_machine_is_read(tmp_path: Path):
    (tmp_path / "stat").write_text("cpu  100 0 200 5000 300 0 0 0 0 0\ncpu0 1\n")
    lines = ("MemTotal: 100 kB", "MemFree: 30 kB", "Inactive(file): 20 kB", "Hugepagesize: x")
    (tmp_path / "meminfo").write_text("\n".join(lines))
    assert of_machine(tmp_path) == Usage(3.0, 50 * 1024)
    assert of_machine().cpu > 0


def test_a_node_that_shares_its_machine_counts_its_pods(tmp_path: Path):
    folder = tmp_path / "podwire/lab/n/pods"
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("usage_usec 1000000")
    (folder / "memory.current").write_text("7")
    shared = Layout(PurePosixPath("podwire/lab/n"), tmp_path, {})
    assert Cgroups(shared).used_by_node() == Usage(1.0, 7)
    assert Cgroups(replace(shared, prefix=PurePosixPath("podwire"))).used_by_node().cpu > 1


@pytest.mark.parametrize("text", ["a b c d", "node_cpu_usage_seconds_total x", "", "a{b 1"])
def test_text_that_says_nothing_is_refused(text: str):
    with pytest.raises((ScrapeError, ValueError)):
        read(text)


def used(at: float, cpu: float) -> RuntimeUsage:
    parts = {"web.c.0": Usage(cpu / 2, 2 * 1024 * 1024), "web.d.0": Usage(cpu / 4, 1024)}
    return RuntimeUsage(at, Usage(cpu, 100 * 1024 * 1024), parts)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Streaming]:
    """A node with a Pod of two containers, measured twice in ten seconds."""
    async with streaming(tmp_path) as running:
        made = await running.pod("web", "c", "d")
        await running.pod("new")
        for name in ("c", "d"):
            running.runtime.add(made, name)
        for at, cpu in ((100.0, 20.0), (110.0, 24.0)):
            running.runtime.used = used(at, cpu)
            await scrape_once(running.state)
        yield running


async def test_kubectl_top_shows_what_is_used(cluster: Streaming):
    _, out, err = await cluster.kubectl("top", "pod", "--no-headers")
    assert (out.decode().split(), err) == (["web", "300m", "2Mi"], "")
    _, out, _ = await cluster.kubectl("top", "pod", "web", "--containers", "--no-headers")
    assert out.decode().split() == ["web", "c", "200m", "2Mi", "web", "d", "100m", "0Mi"]
    capacity = {"cpu": "2", "memory": "200Mi"}
    status = {"status": {"capacity": capacity, "allocatable": capacity}}
    await cluster.client.patch(kinds.NODE, None, NODE, status, subresource="status")
    _, out, _ = await cluster.kubectl("top", "node", "--no-headers")
    assert out.decode().split() == [NODE, "400m", "20%", "100Mi", "50%"]
    code, _, err = await cluster.kubectl("top", "pod", "new")
    assert code == 1 and 'podmetrics.metrics.k8s.io "default/new" not found' in err


async def test_documents_are_metrics_servers(cluster: Streaming):
    async with aiohttp.ClientSession(cluster.url) as session:
        api = Api(session, cluster.state)
        found = (await api("GET", f"{METRICS}/namespaces/default/pods/web")).body
        assert found["metadata"].pop("creationTimestamp")
        assert found == {
            "kind": "PodMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {"name": "web", "namespace": "default"},
            "timestamp": "1970-01-01T00:01:50Z",
            "window": "10s",
            "containers": [
                {"name": "c", "usage": {"cpu": "200000000n", "memory": "2048Ki"}},
                {"name": "d", "usage": {"cpu": "100000000n", "memory": "1Ki"}},
            ],
        }
        nodes = (await api("GET", f"{METRICS}/nodes")).body
        assert (nodes["kind"], len(nodes["items"])) == ("NodeMetricsList", 1)
        assert nodes["items"][0]["usage"] == {"cpu": "400000000n", "memory": "102400Ki"}
        for path, names in (
            ("pods", ["web"]),
            ("pods?fieldSelector=metadata.name=web", ["web"]),
            ("pods?labelSelector=app", []),
            ("namespaces/other/pods", []),
        ):
            items = (await api("GET", f"{METRICS}/{path}"))["items"]
            assert [item["metadata"]["name"] for item in items] == names
        for method, path, code in (
            ("GET", "nodes/absent", 404),
            ("GET", "namespaces/default/pods/web/binding", 404),
            ("POST", "namespaces/default/pods", 405),
            ("DELETE", "nodes/n1", 405),
            ("GET", "nodes?watch=true", 405),
        ):
            assert (await api(method, f"{METRICS}/{path}", {})).code == code, path
        listed = (await api("GET", METRICS))["resources"]
        assert [(it["name"], it["verbs"]) for it in listed] == [
            ("nodes", ["get", "list"]),
            ("pods", ["get", "list"]),
        ]
        assert (await api("GET", "/openapi/v2")).code == 200
    _, out, _ = await cluster.kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "--no-headers")
    assert out.decode().split()[:3] == ["v1beta1.metrics.k8s.io", "Local", "True"]
    _, out, _ = await cluster.kubectl("get", "podmetrics", "--no-headers")
    assert out.decode().split()[0] == "web"


async def test_a_node_that_does_not_answer_has_no_metrics(cluster: Streaming):
    ports = {"kubeletEndpoint": {"Port": 1}}
    status = {"status": {"daemonEndpoints": ports}}
    await cluster.client.patch(kinds.NODE, None, NODE, status, subresource="status")
    await scrape_once(cluster.state)
    code, _, err = await cluster.kubectl("top", "node", NODE)
    assert code == 1 and f'nodemetrics.metrics.k8s.io "{NODE}" not found' in err
