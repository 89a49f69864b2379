#!/usr/bin/env bash
# Python's Kubernetes clients send a PUT again by themselves: a write that was done may be answered with a conflict.
#
# One would guess: a call whose connection ends raises an error, and the program decides; so it is with Go's net/http,
#   and so with client-go and kubectl, which repeat only what changes nothing (GET, HEAD), and with httpx2 (lightkube).
# What they do: a server that has done a PUT and is killed before its answer gets, restarted, the same PUT again. Its
#   resourceVersion is the old one then: kubernetes and kubernetes_asyncio report 409 Conflict, of their own write.
#   kubernetes does it by urllib3, up to three times and also on a new connection, kubernetes_asyncio by aiohttp, once
#   and only if the connection was kept from an earlier call. A DELETE is sent again likewise: it reports 404, or, if
#   somebody made an object of that name meanwhile, has deleted that one too, unless it names a UID.
# So: after a conflict read the object, and look whether it is what was wanted; delete with preconditions.uid; or set
#   Configuration.retries = False (kubernetes). A program that counts calls must count what was sent.
# Seen with: kubernetes 37.0.2, urllib3 2.8.0, kubernetes_asyncio 36.1.0, aiohttp 3.14.5, lightkube 1.0.1, httpx2 2.16.2,
#   Python 3.11, November 2026.
source "$(dirname "$0")/common.bash"
python kubernetes==37.0.2 urllib3==2.8.0 kubernetes_asyncio==36.1.0 aiohttp==3.14.5 lightkube==1.0.1 httpx2==2.16.2

seen <<'SCRIPT'
cat > server.py <<'PYTHON'
"""An API server with one ConfigMap. It does the first PUT, and ends that connection before it answers."""
import asyncio
import json

MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "default"}}
CONFLICT = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": 409}


class Server:
    def __init__(self):
        self.version, self.puts = 1, []

    def shown(self):
        return MAP | {"metadata": MAP["metadata"] | {"resourceVersion": str(self.version)}, "data": {}}

    async def answer(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().splitlines()
                size = sum(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
                body = await reader.readexactly(size)
                status, said = self.react(lines[0].split()[0], body)
                if not status:
                    break
                text = json.dumps(said).encode()
                kind = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
                writer.write(kind.encode() + text)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    def react(self, verb, body):
        if verb != "put":
            return 200, self.shown()
        wanted = json.loads(body)["metadata"]["resourceVersion"]
        self.puts.append(wanted)
        if wanted != str(self.version):
            return 409, CONFLICT
        self.version += 1
        return 0, None
PYTHON
cat > clients.py <<'PYTHON'
import asyncio

import kubernetes
import kubernetes_asyncio
import lightkube
from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import Cluster, User
from lightkube.resources.core_v1 import ConfigMap

from server import Server


def by_kubernetes(url):
    made = kubernetes.client.Configuration(host=url)
    api = kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(made))
    try:
        api.replace_namespaced_config_map("one", "default", api.read_namespaced_config_map("one", "default"))
    except kubernetes.client.ApiException as err:
        return f"{err.status} {err.reason if err.reason != '-' else 'Conflict'}"


async def by_kubernetes_asyncio(url):
    made = kubernetes_asyncio.client.Configuration(host=url)
    async with kubernetes_asyncio.client.ApiClient(made) as client:
        api = kubernetes_asyncio.client.CoreV1Api(client)
        try:
            found = await api.read_namespaced_config_map("one", "default")
            await api.replace_namespaced_config_map("one", "default", found)
        except kubernetes_asyncio.client.ApiException as err:
            return f"{err.status} {err.reason if err.reason != '-' else 'Conflict'}"


def by_lightkube(url):
    config = KubeConfig.from_one(cluster=Cluster(server=url), user=User())
    client = lightkube.Client(config)
    try:
        client.replace(client.get(ConfigMap, "one", namespace="default"))
    except Exception as err:
        return type(err).__name__


async def run(name, work):
    server = Server()
    bound = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    url = "http://127.0.0.1:%d" % bound.sockets[0].getsockname()[1]
    told = await (work(url) if asyncio.iscoroutinefunction(work) else asyncio.to_thread(work, url))
    print(f"{name}: one call, PUTs of resourceVersion {', '.join(server.puts)}; told: {told}; done: {server.version - 1}")
    bound.close()


async def main():
    for work in (by_kubernetes, by_kubernetes_asyncio, by_lightkube):
        await run(work.__name__[3:], work)


asyncio.run(main())
PYTHON
python -W ignore clients.py
SCRIPT
expect <<'TEXT'
kubernetes: one call, PUTs of resourceVersion 1, 1; told: 409 Conflict; done: 1
kubernetes_asyncio: one call, PUTs of resourceVersion 1, 1; told: 409 Conflict; done: 1
lightkube: one call, PUTs of resourceVersion 1; told: RemoteProtocolError; done: 1
TEXT
