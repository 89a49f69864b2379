"""The process itself for Prometheus and for people: resources, version, /statusz, /configz."""

import json
import os
import platform
import resource
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from control.version import PODWIRE

_PROC = Path("/proc/self")
_BEGAN = time.time()
_STATUS = "config.k8s.io"  # the group of a structured /statusz, as a client's Accept names it


def process_text() -> str:
    """Return ``process_*`` under the names of Prometheus' clients, and the build."""
    pages = [int(number) for number in (_PROC / "statm").read_text().split()]
    used = resource.getrusage(resource.RUSAGE_SELF)
    samples = (
        ("process_cpu_seconds_total", "counter", used.ru_utime + used.ru_stime),
        ("process_open_fds", "gauge", len(list((_PROC / "fd").iterdir()))),
        ("process_max_fds", "gauge", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        ("process_virtual_memory_bytes", "gauge", pages[0] * resource.getpagesize()),
        ("process_virtual_memory_max_bytes", "gauge", resource.getrlimit(resource.RLIMIT_AS)[0]),
        ("process_resident_memory_bytes", "gauge", pages[1] * resource.getpagesize()),
        ("process_start_time_seconds", "gauge", _BEGAN),
    )
    lines = [f"# TYPE {name} {kind}\n{name} {value:.15g}\n" for name, kind, value in samples]
    return "".join([*lines, _build()])


def _build() -> str:
    major, minor, *_ = PODWIRE.split(".")
    labels = {
        "major": major,
        "minor": minor,
        "git_version": f"v{PODWIRE}",
        "compiler": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"linux/{os.uname().machine}",
    }
    text = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"# TYPE kubernetes_build_info gauge\nkubernetes_build_info{{{text}}} 1\n"


def statusz(request: web.Request, paths: Iterable[str]) -> web.Response:
    """Answer /statusz (KEP-4827): text, or JSON for who asks for it by Accept."""
    up, shown = int(time.time() - _BEGAN), sorted(paths)
    if "as=Statusz" in request.headers.get("Accept", ""):
        version = "v1beta1" if "v=v1beta1" in request.headers["Accept"] else "v1alpha1"
        body = {
            "kind": "Statusz",
            "apiVersion": f"{_STATUS}/{version}",
            "metadata": {"name": "kube-proxy"},
            "startTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_BEGAN)),
            "uptimeSeconds": up,
            "goVersion": "",
            "binaryVersion": PODWIRE,
            "paths": shown,
        }
        return web.json_response(body)
    began = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(_BEGAN))
    return web.Response(
        text="\nkube-proxy statusz\nWarning: This endpoint is not meant to be machine parseable, "
        "has no formatting compatibility guarantees and is for debugging purposes only.\n\n"
        f"Started: {began}\n"
        f"Up: {up // 3600} hr {up // 60 % 60:02} min {up % 60:02} sec\n"
        f"Binary version: {PODWIRE}\n"
        f"Paths: {' '.join(shown)}\n"
    )


def configz(document: Mapping[str, Any]) -> web.Response:
    """Answer /configz: the configuration in force, as a KubeProxyConfiguration."""
    text = json.dumps({"kubeproxy.config.k8s.io": document})
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache, private"}
    return web.Response(text=text, content_type="application/json", headers=headers)
