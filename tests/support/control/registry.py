"""Debian's docker-registry on loopback of a network namespace, filled and asked by skopeo."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from control.pki import Identity, create_authority, issue
from tests.support.space import Space

USER, PASSWORD = "ann", "secret"
# By crypt(3): there is no bcrypt in Python's standard library.
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
CHECKOUT = Path(__file__).resolve().parents[3]


class Here:
    """The run's own namespace, in a Space's place: where a runtime of the test is."""

    def argv(self, *argv: str) -> list[str]:
        """Return a command line as it is."""
        return list(argv)

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command, and return its output."""
        return subprocess.run(argv, check=check, capture_output=True, text=True).stdout


HERE = Here()


def free_port() -> int:
    """Return a port of loopback that nobody has, so that several runs do not meet."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Registry:
    """A registry that runs, and the folder of its certificate's authority if it has TLS."""

    def __init__(
        self, space: Space | Here, folder: Path, port: int, *, guarded: bool, users: bool
    ) -> None:
        self.space, self.folder, self.port, self.guarded = space, folder, port, guarded
        self.users = users or guarded
        self.host = f"localhost:{port}"
        self.authority = folder / "authority"

    def config(self) -> dict[str, object]:
        """Return the registry's settings, and write the files that they name."""
        http: dict[str, object] = {"addr": f"127.0.0.1:{self.port}"}
        found = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "http": http,
        }
        if self.guarded:
            authority = create_authority("registry")
            issue(authority, Identity("registry", hosts=("localhost",))).save(self.folder, "server")
            self.authority.mkdir()
            (self.authority / "ca.crt").write_bytes(authority.certificate)
            http["tls"] = {
                "certificate": str(self.folder / "server.crt"),
                "key": str(self.folder / "server.key"),
            }
        if self.users:
            path = str(self.folder / "htpasswd")
            Path(path).write_text(_HTPASSWD)
            found["auth"] = {"htpasswd": {"realm": "tests", "path": path}}
        return found

    def push(self, source: str, name: str, *options: str) -> None:
        """Copy an image, such as oci:FOLDER, to a name in the registry."""
        how = ["--dest-tls-verify=false", *options]
        if self.users:
            how.append(f"--dest-creds={USER}:{PASSWORD}")
        self.space.run("skopeo", "copy", "--quiet", *how, source, f"docker://{self.host}/{name}")

    def pull(self, name: str, *options: str, images: Path) -> "subprocess.CompletedProcess[str]":
        """Run ``podwire image pull`` beside the registry."""
        words = ("image", "pull", f"{self.host}/{name}", f"--image-dir={images}", *options)
        return subprocess.run(
            self.space.argv(sys.executable, "-m", "lab.main", *words),
            capture_output=True,
            text=True,
            check=False,
            cwd=CHECKOUT,
            # the user's own passwords are none of the test's
            env=os.environ | {"XDG_RUNTIME_DIR": str(self.folder), "HOME": str(self.folder)},
        )


@contextmanager
def registry(
    space: Space | Here, folder: Path, port: int, *, guarded: bool = False, users: bool = False
) -> Iterator[Registry]:
    """Run a registry; ``users`` must have a password, and a ``guarded`` one has TLS besides."""
    made = Registry(space, folder, port, guarded=guarded, users=users)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(made.config()))
    program = shutil.which("docker-registry", path=f"{sys.prefix}/bin:{os.environ['PATH']}")
    assert program is not None, "bin/setup --dev installs docker-registry"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(space.argv(program, "serve", str(file)), stdout=log, stderr=log)
    try:
        _wait(space, port, process, folder / "log")
        yield made
    finally:
        process.kill()
        process.wait()


def _wait(space: Space | Here, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    ask = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
    while space.run(sys.executable, "-IS", "-c", f"{ask}; print('up')", check=False) != "up\n":
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"docker-registry does not listen: {log.read_text()}"
        time.sleep(0.05)


class Silent:
    """A port that takes connections and never answers."""

    def __init__(self, space: Space, port: int) -> None:
        self._process = subprocess.Popen(
            space.argv(sys.executable, "-IS", "-c", _LISTEN, str(port)), stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


_LISTEN = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
time.sleep(1000)
"""
