"""Labs for whole-cluster tests, driven by the commands that a user types."""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
WEB = CHECKOUT / "examples" / "web.yaml"


def run(
    *argv: str | Path, timeout: float = 120, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command line, with text output."""
    return subprocess.run(
        [str(arg) for arg in argv],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )


def podwire(*args: str) -> str:
    """Run ``bin/podwire ARGS``, and return its output; a failure fails the test."""
    done = run(CHECKOUT / "bin" / "podwire", *args, timeout=240)
    assert done.returncode == 0, f"podwire {args}: {done.stdout}{done.stderr}"
    return done.stdout


def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until ``check`` returns a true value and raises no AssertionError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if result := check():
                return result
            reason = "still false"
        except AssertionError as err:
            reason = str(err)
        assert time.monotonic() < deadline, f"did not come true in {seconds} s: {reason}"
        time.sleep(0.1)


class Lab:
    """A running lab."""

    def __init__(self, name: str, cache: Path) -> None:
        self.name = name
        self.kubeconfig = podwire("lab", "kubeconfig", "--name", name).strip()
        self._cache = cache

    def kubectl_argv(self, *args: str) -> list[str]:
        """Return the command line of kubectl for this lab, with its own discovery cache."""
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self._cache}", *args]

    def kubectl(self, *args: str, timeout: float = 90, stdin: str | None = None) -> str:
        """Run kubectl, and return its output; it must succeed without output on stderr."""
        done = run(*self.kubectl_argv(*args), timeout=timeout, input=stdin)
        assert done.returncode == 0, f"kubectl {args}: {done.stderr}"
        assert done.stderr == "", f"kubectl {args} warned: {done.stderr}"
        return done.stdout

    def get(self, *args: str) -> Any:
        """Run ``kubectl get ARGS -o json``, and return the decoded output."""
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def exec_argv(self, machine: str, *argv: str) -> list[str]:
        """Return the command line that runs ``argv`` on a machine."""
        return [
            str(CHECKOUT / "bin/podwire"),
            "lab",
            "exec",
            "--name",
            self.name,
            machine,
            "--",
            *argv,
        ]

    def exec(self, machine: str, *argv: str, timeout: float = 90) -> str:
        """Run a command on a machine, and return its output; it must succeed."""
        done = run(*self.exec_argv(machine, *argv), timeout=timeout)
        assert done.returncode == 0, f"{argv} on {machine}: {done.stdout}{done.stderr}"
        return done.stdout

    def status(self) -> Any:
        """Return the output of ``lab status``, decoded."""
        return json.loads(podwire("lab", "status", "--name", self.name, "-o", "json"))

    def component_pid(self, machine: str, component: str) -> int | None:
        """Return the pid of a component, as the host sees it."""
        for row in self.status()["machines"]:
            for part in row["components"]:
                if (row["name"], part["name"]) == (machine, component):
                    return part["pid"]
        raise AssertionError(f"{machine} has no {component}")

    def pods(self, selector: str = "app=web") -> list[Any]:
        """Return the Pods that are not being deleted."""
        items = self.get("pods", "-l", selector)["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def ask_from_node(self, machine: str, address: str, port: int, count: int) -> Counter[str]:
        """Count the answers to ``count`` requests from a machine, failures as "failed: …"."""
        probe = str(CHECKOUT / "lab" / "probe.py")
        out = self.exec(
            machine, "/usr/bin/python3", "-IS", probe, address, str(port), str(count), "0"
        )
        result = json.loads(out)
        failures = {f"failed: {cause}": n for cause, n in result["failures"].items()}
        return Counter({**result["answers"], **failures})

    def ask_from_pod(self, pod: str, address: str, port: int, count: int) -> Counter[str]:
        """Count the answers to ``count`` requests from inside a Pod."""
        host = f"[{address}]" if ":" in address else address
        script = (
            f"i=0; while [ $i -lt {count} ]; do i=$((i+1)); "
            f"wget -q -O - http://{host}:{port}/ || echo failed; done"
        )
        return Counter(self.kubectl("exec", pod, "--", "sh", "-c", script).split())

    @contextmanager
    def load(
        self, machine: str, address: str, port: int, interval: float
    ) -> Iterator[dict[str, Any]]:
        """Make new connections steadily while the block runs; the dict is filled at the end."""
        load = str(CHECKOUT / "tests/support/e2e/load.py")
        argv = self.exec_argv(
            machine,
            "/usr/bin/python3",
            load,
            str(CHECKOUT / "lab"),
            address,
            str(port),
            str(interval),
        )
        result: dict[str, Any] = {}
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            try:
                yield result
            finally:
                self.exec(machine, "pkill", "-TERM", "-f", "tests/support/e2e/load.py")
                result.update(json.loads(process.stdout.read()))


def identity(lab: Lab) -> dict[str, Any]:
    """Return what must stay the same: each Pod, its address, and its containers' starts."""
    return {
        pod["metadata"]["uid"]: (
            pod["metadata"]["name"],
            pod["status"]["podIP"],
            pod["status"]["containerStatuses"][0]["restartCount"],
            pod["status"]["containerStatuses"][0]["containerID"],
        )
        for pod in lab.pods()
    }


def need(*commands: str) -> None:
    """Fail if a command is missing: bin/setup --dev or the machine's image install them."""
    missing = [command for command in commands if shutil.which(command) is None]
    assert not missing, f"missing: {missing}"


@contextmanager
def made_lab(name: str, cache: Path, options: Sequence[str] = ()) -> Iterator[Lab]:
    """Make a lab, and remove it after the block."""
    need("kubectl")
    try:
        print(podwire("lab", "up", "--name", name, "--no-demo", *options), file=sys.stderr)
        yield Lab(name, cache)
    finally:
        podwire("lab", "down", "--name", name)
