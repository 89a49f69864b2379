"""podwire's install commands on a folder, and a stand-in for systemd that runs what they start.

As a program: stand_in.py ROOT WORD..., in the network namespace of the machine that ROOT stands
for. Of a node only the balancer is started: its other parts would change this machine.
"""

import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from control.install import cli, systemd, token_cli
from control.install import join as joining
from control.install.certs_cli import certs
from control.install.layout import Layout
from control.store import cli as store

_STOP_SECONDS = 15  # systemd gives 90: a member of etcd that was removed may need them all
_NOT_STARTED = {"podwire-agent", "podwire-proxy", "podwire-cni", "podwire-pods", "podwire-certs"}
_COMMANDS = {
    "install": cli.install,
    "join": cli.join,
    "reset": cli.reset,
    "token": token_cli.token,
    "certs": certs,
    "store": store.main,
}


class StandIn:
    """Starts the services of unit files, each with the sockets of the unit of its name."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._run = layout.root / "run/stand-in"
        self._run.mkdir(parents=True, exist_ok=True)
        self._sockets: dict[str, list[socket.socket]] = {}

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Do as ``systemctl`` does."""
        verb, *names = [word for word in words if not word.startswith("--")]
        code = 0
        for name in names:
            if verb in ("stop", "restart") or (verb == "disable" and "--now" in words):
                self._stop(name)
            if verb in ("start", "restart"):
                self._start(name)
            if verb == "is-active":
                code = 0 if self._pid(name) else 3
        return subprocess.CompletedProcess(words, code, "", "")

    def _pid(self, name: str) -> int:
        with suppress(OSError, ValueError):
            pid = int((self._run / name.removesuffix(".socket")).read_text())
            os.kill(pid, 0)
            return pid
        return 0

    def _stop(self, name: str) -> None:
        """End a service, and wait for that; one that does not end is killed, as by systemd."""
        if name.endswith(".service") and (pid := self._pid(name)):
            os.kill(pid, signal.SIGTERM)
            ends = time.monotonic() + _STOP_SECONDS
            while _runs(pid):
                if time.monotonic() > ends:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)
            (self._run / name).unlink()

    def _start(self, name: str) -> None:
        part, _, kind = name.rpartition(".")
        if part in _NOT_STARTED or self._pid(f"{part}.service"):
            return
        text = (self._layout.units / name).read_text()
        if kind == "socket":
            self._sockets[part] = [*map(_opened, re.findall(r"^Listen(\w+)=(.*)", text, re.M))]
        else:
            (self._run / name).write_text(str(self._spawn(name, text)))

    def _spawn(self, name: str, text: str) -> int:
        held = self._run / "credentials" / name
        held.mkdir(parents=True, exist_ok=True)
        for word, path in re.findall(r"^LoadCredential=(.*?):(.*)", text, re.M):
            shutil.copy(path, held / word)
        for folder in re.findall(r"^StateDirectory=podwire/(.*)", text, re.M):
            (self._layout.state / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        (start,) = re.findall(r"^ExecStart=(.*)", text, re.M)
        argv = shlex.split(start.replace("${CREDENTIALS_DIRECTORY}", str(held)))
        fds = [
            fcntl.fcntl(each, fcntl.F_DUPFD, 100)
            for each in self._sockets.get(name.removesuffix(".service"), ())
        ]
        places = " ".join(f"{place}<&{fd} {fd}<&-" for place, fd in enumerate(fds, 3))
        with (self._run / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                ["bash", "-c", f'exec "$@" {places}', "-", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=fds,
                start_new_session=True,
            ).pid


def _runs(pid: int) -> bool:
    """Return False for a process that has ended, also if nobody has reaped it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _opened(listen: tuple[str, str]) -> socket.socket:
    host, _, port = listen[1].rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    datagram = listen[0] == "Datagram"
    made = socket.socket(family, socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((bare, int(port)))
    if not datagram:
        made.listen(128)
    return made


def main(root: Path, words: list[str]) -> None:
    layout = Layout(root)
    (root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    systemd._run = StandIn(layout).run  # type: ignore[assignment]
    joining.install_plugin = lambda _: None
    for module in (cli, token_cli, sys.modules["control.install.certs_cli"]):
        module._LAYOUT = layout  # type: ignore[attr-defined]
    _COMMANDS[words[0]].main(words[1:], prog_name=f"podwire {words[0]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
