"""Everyday commands by each kubectl that bin/setup brings: they succeed, and warn of nothing."""

import contextlib
import http.client
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.control.kubectls import KUBECTLS
from tests.support.e2e.harness import Lab, eventually, made_lab, run

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: podwire/tools, command: [/bin/serve, "8080"]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: typed}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: podwire/tools
    stdin: true
    stdinOnce: true
    command: [sh, -c, echo up; cat; echo bye]
"""
SETTINGS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
"""

NO_TYPE = 'error: the server doesn\'t have a resource type "nothings"\n'
# Upstream's warning, too.
OLD_ENDPOINTS = (
    "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\n"
)
# Words of a command, and a part of what it prints; FOLDER holds the manifests.
BEGIN = (
    ("apply -f FOLDER/web.yaml", "service/web created"),
    ("apply --server-side -f FOLDER/settings.yaml", "configmap/settings serverside-applied"),
    ("rollout status deployment/web", "successfully rolled out"),
    ("wait --for=condition=Available deployment/web", "condition met"),
    ("wait --for=jsonpath={.status.readyReplicas}=1 deployment/web", "condition met"),
    ("wait --for=condition=Ready pod/typed --timeout=110s", "pod/typed condition met"),
)
COMMANDS = (
    ("apply -f FOLDER/web.yaml", "service/web unchanged"),
    ("diff -f FOLDER/web.yaml", ""),
    ("diff --server-side -f FOLDER/settings.yaml", ""),
    ("logs typed --tail=1", ""),
    ("logs -l app=web --prefix", ""),
    ("exec typed -- hostname", "typed\n"),
    ("exec deployment/web -- echo x", "x\n"),
    ("cp FOLDER/web.yaml typed:/tmp/copy", ""),
    ("cp typed:/tmp/copy FOLDER/copy", ""),
    ("describe pod typed", "Started"),
    ("describe configmap/settings serviceaccount/default", "settings"),
    ("describe deployment web", "ScalingReplicaSet"),
    ("describe replicasets", "Pods Status:"),
    ("describe endpointslices", "8080"),
    ("describe namespace/default node/node1", "PodCIDR"),
    ("events", "Scheduled"),
    ("events --for pod/typed", "Pod/typed"),
    ("get all,events -o wide", "deployment.apps/web"),
    ("auth can-i create pods", "yes\n"),
    ("auth can-i --list", "*.*"),
    ("explain pod.spec.containers", "<[]Container>"),
    ("explain deployment --recursive", "progressDeadlineSeconds"),
    ("api-resources -o wide", "deployments"),
    ("api-versions", "apps/v1"),
    ("create deployment made --image=podwire/tools -- /bin/serve 8080", "created"),
    ("rollout status deployment/made", "successfully rolled out"),
    ("set env deployment/made A=b", "env updated"),
    ("rollout status deployment/made", "successfully rolled out"),
    ("rollout undo deployment/made", "rolled back"),
    ("rollout status deployment/made", "successfully rolled out"),
    ("rollout restart deployment/made", "restarted"),
    ("rollout history deployment/made", "REVISION"),
    ("rollout pause deployment/made", "paused"),
    ("rollout resume deployment/made", "resumed"),
    ("delete deployment made", "deleted"),
)
# Reasons of Events that come a moment after what they tell of.
REASONS = {"Scheduled", "Started", "ScalingReplicaSet", "SuccessfulCreate"}
DEPRECATED = (
    "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\n"
)
PROGRAMS = [path for path in KUBECTLS if path.parent.name == "kubectls"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of one node."""
    with made_lab("kubectls", tmp_path_factory.mktemp("kube"), ["--nodes", "1"]) as made:
        yield made


@dataclass(frozen=True)
class User:
    """One kubectl, in a namespace of its own."""

    command: tuple[str, ...]
    folder: Path

    def check(self, rows: Iterable[tuple[str, str]]) -> None:
        """Run commands: each succeeds, warns of nothing, and shows its words."""
        wrong = []
        for words, shows in rows:
            argv = [word.replace("FOLDER", str(self.folder)) for word in words.split(" ")]
            done = run(*self.command, *argv)
            said = done.stderr.replace(OLD_ENDPOINTS, "")  # of kubectls before 1.33
            if done.returncode or said or shows not in done.stdout:
                wrong.append(f"{words}: {done.returncode}, {done.stderr!r}, {done.stdout!r}")
        assert not wrong, "\n".join(wrong)

    @contextlib.contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs until it is stopped; it must not write to standard error."""
        pipe = subprocess.PIPE
        argv = [*self.command, *words]
        with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                yield process
            finally:
                process.terminate()
                _, err = process.communicate()
            assert err == ""


@pytest.fixture(params=PROGRAMS, ids=lambda path: path.name, scope="module")
def user(request, node, tmp_path_factory) -> User:
    """Each kubectl, after all of ``COMMANDS``."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "web.yaml").write_text(WEB)
    (folder / "settings.yaml").write_text(SETTINGS)
    space = f"--namespace={request.param.name.replace('.', '-')}"
    node.kubectl("create", "namespace", space.partition("=")[2])
    options = (f"--kubeconfig={node.kubeconfig}", f"--cache-dir={folder}/cache", space)
    made = User((str(request.param), *options), folder)
    made.check(BEGIN)
    eventually(lambda: reasons(node, space) >= REASONS and has_endpoints(node, space))
    made.check(COMMANDS)
    return made


def has_endpoints(lab: Lab, space: str) -> bool:
    return any(one.get("endpoints") for one in lab.get(space, "endpointslices")["items"])


def reasons(lab: Lab, space: str) -> set[str]:
    return {event["reason"] for event in lab.get(space, "events")["items"]}


def test_everyday_commands_succeed_and_warn_of_nothing(user):
    assert (user.folder / "copy").read_text() == WEB


def test_attach_carries_input_and_output_which_a_followed_log_shows(user):
    with user.started("logs", "-f", "typed") as process:
        assert process.stdout.readline() == "up\n"
        done = run(*user.command, "attach", "--quiet", "-i", "typed", input="hello\n")
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello\nbye\n", "")
        assert process.stdout.read() == "hello\nbye\n"
        assert process.wait() == 0


def test_a_forwarded_port_answers(user):
    with user.started("port-forward", "service/web", ":80") as process:
        port = int(process.stdout.readline().split(":")[1].split()[0])
        client = http.client.HTTPConnection("127.0.0.1", port)
        client.request("GET", "/")
        assert client.getresponse().read().startswith(b"web-")
        client.close()


def test_a_watch_shows_changes(user):
    shown = "jsonpath={.data.a}{'\\n'}"
    with user.started("get", "configmap", "settings", "-w", "-o", shown) as process:
        assert process.stdout.readline() == "b\n"
        user.check([('patch configmap settings -p {"data":{"a":"c"}}', "patched")])
        assert process.stdout.readline() == "c\n"


def test_a_service_is_described(user):
    """Older kubectls read its Endpoints, of which servers warn since 1.33."""
    done = run(*user.command, "describe", "service", "web")
    assert (done.returncode, "Endpoints:" in done.stdout) == (0, True)
    assert done.stderr in ("", DEPRECATED)


def test_refusals_are_upstreams(user):
    for words, code, out, err in (
        ("get nothings", 1, "", NO_TYPE),
        ("auth can-i get secrets --as=nobody", 1, "no\n", ""),
        ("get pod none", 1, "", 'Error from server (NotFound): pods "none" not found\n'),
    ):
        done = run(*user.command, *words.split())
        assert (done.returncode, done.stdout, done.stderr) == (code, out, err), words
