"""The table of small Pods, and how a status is written down: without times, IDs and addresses."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from control.api.pod import Pod

FOLDER = Path(__file__).parent
_TIMES = ("startTime", "startedAt", "finishedAt")
_LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_CONTAINER = {
    "image": "podwire/tools",
    "imagePullPolicy": "Never",
    "command": ["sleep", "1000"],
}


@dataclass(frozen=True)
class Case:
    """One Pod, and what is done to it once its status is the first that is expected."""

    name: str
    pod: dict[str, Any]
    steps: tuple[dict[str, Any], ...]


def objects() -> list[dict[str, Any]]:
    """The objects that the Pods name."""
    return list(_table()["objects"])


def cases() -> list[Case]:
    """All Pods of the table."""
    return [_case(name, short) for name, short in _table()["pods"].items()]


def expected() -> dict[str, list[dict[str, Any]]]:
    """What a kubelet wrote: for each Pod its status before each step, and at the end."""
    wire = yaml.safe_load((FOLDER / "expected.yaml").read_text())
    return {
        name: [merged(wire["common"], entry) for entry in entries]
        for name, entries in wire["pods"].items()
    }


def merged(common: Any, entry: Any) -> Any:
    """Return what is common, with what an entry has instead of it; null is nothing."""
    if not (isinstance(common, dict) and isinstance(entry, dict)):
        return entry
    whole = {
        key: merged(common.get(key), entry.get(key, common.get(key))) for key in common | entry
    }
    return {key: value for key, value in whole.items() if value is not None}


def _table() -> Any:
    return yaml.safe_load((FOLDER / "table.yaml").read_text())


def _case(name: str, short: dict[str, Any]) -> Case:
    spec = {"containers": [{"name": "main"} | short.get("main", {})]} | short.get("spec", {})
    for kind in ("containers", "initContainers"):
        spec[kind] = [_CONTAINER | it for it in spec.get(kind, [])]
    common = {
        "nodeName": "n1",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
    }
    meta = {"name": name, "namespace": "default"} | short.get("meta", {})
    return Case(name, {"metadata": meta, "spec": common | spec}, tuple(short.get("steps", ())))


def written_down(pod: Pod) -> dict[str, Any]:
    """Return a Pod's status in the form of expected.yaml."""
    status = dict(pod.status.wire())
    status["conditions"] = {it["type"]: _condition(it) for it in status.get("conditions", [])}
    for name in _LISTS:
        if name in status:
            status[name] = {it["name"]: _container(it) for it in status[name]}
    return _plain(status, pod.metadata.uid)  # type: ignore[no-any-return]


def _condition(wire: dict[str, Any]) -> str:
    """One line: status, reason, message, and @ with the generation that was observed."""
    words = (wire["status"], wire.get("reason"), wire.get("message"))
    seen = wire.get("observedGeneration")
    return " ".join(word for word in (*words, f"@{seen}" if seen else "") if word)


def _container(wire: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wire.items() if key != "name" and value != {}}


def _plain(value: Any, uid: str) -> Any:
    """Replace what differs from run to run by its kind."""
    match value:
        case dict():
            return {key: _leaf(key, it, uid) for key, it in value.items() if it is not None}
        case list():
            return [_plain(it, uid) for it in value]
        case str():
            return value.replace(uid, "UID")
    return value


_FORMS = {
    "containerID": (r"(podwire|containerd)://[0-9a-f]{32,64}", "RUNTIME://ID"),
    "imageID": (r"([\w./-]+@)?sha256:[0-9a-f]{64}", "DIGEST"),
    "hostIP": (r"192\.0\.2\.1", "HOST"),
    "podIP": (r"10\.244\.1\.\d+", "ADDRESS"),
}


def _leaf(key: str, value: Any, uid: str) -> Any:
    if key in _TIMES:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value), f"{key} is {value}"
        return "TIME"
    if key in ("podIPs", "hostIPs"):
        return [re.sub(r"10\.244\.1\.\d+|fd44::[0-9a-f:]+", "ADDRESS", it["ip"]) for it in value]
    form, shown = _FORMS.get(key, ("", ""))
    if form and re.fullmatch(form, value):
        return shown
    return _plain(value, uid)
