"""docs/metrics.md names every metric that the parts of control have, with its type and labels."""

import re
from pathlib import Path

from control.agent.measured import RuntimeMetrics
from control.agent.pods.allocation import Allocations
from control.agent.resizes import Resizes
from control.agent.server.stats import kubelet_metrics
from control.client import Client, ClientConfig
from control.client.measured import RequestMetrics
from control.controllers.queue import WorkQueue
from control.controllers.queue_metrics import QueueMetrics
from control.metrics import Registry
from control.runtime.base import RuntimeState
from control.scheduler.loop import Scheduler
from control.server.aggregation.measured import AvailabilityCounts
from tests.support.control.api_server import ApiServer

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|", re.M)
_TYPE = re.compile(r"^# TYPE (\w+) (\w+)$", re.M)
# Made where a part begins its work: tests of those parts see them.
ELSEWHERE = {
    "leader_election_master_status": "gauge",
    "kubelet_pod_resize_duration_milliseconds": "histogram",
}


async def test_the_table_is_what_the_parts_have(api_server: ApiServer, tmp_path: Path):
    part = Registry()
    RequestMetrics(part)
    QueueMetrics(part, {"q": WorkQueue()})
    Scheduler(Client(ClientConfig(api_server.url)), registry=part)
    node = Registry()
    RuntimeMetrics(node)
    Resizes({}, Allocations(tmp_path / "a"), lambda: None, node, supported=lambda: True)
    text = part.own_text() + kubelet_metrics("n", RuntimeState(), node)
    AvailabilityCounts(api_server.state)  # as the server's own task does
    text += api_server.state.metrics.own_text()
    found = {name: kind for name, kind in _TYPE.findall(text) if not name.startswith("process_")}
    found.pop("kubernetes_build_info", None)
    assert dict(_ROW.findall(PAGE.read_text())) == found | ELSEWHERE
