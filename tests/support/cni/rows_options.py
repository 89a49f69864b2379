"""Unusual names and values, and the options of the reference plugins; ``bench`` says what a row is.

Each row is a fault that somebody who used the plugin found, with the reference's behavior as the
right one, or with its shortfall.
"""

from tests.support.cni.bench import Bench, Row, rows

ROWS: list[Row] = []
row = rows(ROWS)


@row("2", "an interface name outside ASCII is a name like any other", reference=True)
def _name_outside_ascii(bench: Bench) -> None:
    for name in ("é0", "网络"):
        pod, conf = bench.pod(), bench.conf()
        result = bench.add(pod, conf, ifname=name)
        bench.call("CHECK", pod, conf | {"prevResult": result}, ifname=name).ok()
        bench.call("DEL", pod, conf, ifname=name).ok()
        assert bench.reservations() == {}


@row("13", "GC keeps a valid attachment whose interface name is outside ASCII", reference=None)
def _collect_outside_ascii(bench: Bench) -> None:
    pod, gone, conf = bench.pod(), bench.pod(), bench.conf()
    result = bench.add(pod, conf, ifname="é0")
    bench.add(gone, conf, ifname="é0")
    valid = [{"containerID": pod.container_id, "ifname": "é0"}]
    bench.node.execute(conf | {"cni.dev/valid-attachments": valid}, command="GC").ok()
    bench.call("CHECK", pod, conf | {"prevResult": result}, ifname="é0").ok()
    assert list(bench.reservations().values()) == [f"{pod.container_id}\r\né0"]
