"""Hostile input for the plugin, made by atheris. ``tests/netns/cni/test_fuzz.py`` runs it.

    python -m tests.support.cni.fuzz request|kernel|socket FOLDER [options and folders of libFuzzer]

An input of ``request`` is the environment (NAME=VALUE, a NUL between them), two NULs, and standard
input. An input of ``socket`` is a byte that selects descriptors, and a client's bytes. Both read a
real kernel but change nothing, because changes would take most of the time. ``kernel`` is
``request`` with the changes.
For every input the plugin must print one JSON document with a code of the specification, have no
bug, write nothing outside FOLDER, and execute no other program. DEL must remove everything that an
ADD made.
"""

import ctypes
import json
import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import atheris

sys.dont_write_bytecode = True  # a codec that an input asks for is a file outside FOLDER

with atheris.instrument_imports(include=["cni_plugin"]):
    from cni_plugin.linux.host import Host
    from cni_plugin.linux.namespace import Namespace
    from cni_plugin.server import daemon, protocol
    from cni_plugin.verbs import add_del_check
    from cni_plugin.verbs.answer import PluginAnswer, answer

CODES = frozenset(
    {1, 2, 3, 4, 5, 6, 7, 11, 50, 51}
)  # CNI specification 1.1.0; podwire's own begin at 100
_CLONE_NEWNET = 0x40000000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# audit events (Python's documentation, "Audit events table") and which arguments are written paths
_CHANGES = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.link": (1,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.truncate": (0,),
}
_EXECUTIONS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"})
_FILTER = re.compile(r"/usr/s?bin/(nft|ip6?tables(-nft|-legacy)?(-save|-restore)?)")
_HARMLESS = ("/proc/sys/net/", "/dev/null")


class Escaped(BaseException):
    """The plugin did something that no input may cause."""


class Fence:
    """Allows writing below one folder only, and no programs but those of the packet filter."""

    def __init__(self, folder: Path) -> None:
        self._folder = f"{folder.resolve()}/"
        self._on = False
        sys.addaudithook(self._audit)

    @contextmanager
    def up(self) -> Iterator[None]:
        """Raise Escaped for a forbidden event in the block."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event in _EXECUTIONS and not _FILTER.fullmatch(os.fsdecode(arguments[0])):
            raise Escaped(f"{event} {arguments!r}")
        if event == "open" and arguments[2] & _WRITING:
            self._check(event, arguments[0])
        for index in _CHANGES.get(event, ()):
            self._check(event, arguments[index])

    def _check(self, event: str, path: object) -> None:
        if isinstance(path, int):
            return  # a descriptor that was opened before
        text = os.fsdecode(path)  # type: ignore[arg-type]
        parent, _, name = os.path.abspath(text).rpartition("/")  # noqa: PTH100
        real = f"{os.path.realpath(parent)}/{name}"
        if not real.startswith((self._folder, *_HARMLESS)):
            raise Escaped(f"{event} {text!r}")


def new_namespace() -> int:
    """A descriptor of a new network namespace."""
    made: list[int] = []

    def make() -> None:
        if ctypes.CDLL(None).unshare(_CLONE_NEWNET):
            raise OSError("unshare failed")
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def check_answer(code: int, stdout: bytes) -> None:
    """Fail unless it is a valid answer of a plugin."""
    if not stdout:
        assert code == 0, code
        return
    document = json.loads(stdout)  # one document: more would be an error
    assert isinstance(document, dict), document
    if code:
        assert document["code"] in CODES or document["code"] >= 100, document
        assert "has a bug" not in document["msg"], document


class IdleApplier:
    """Applies no operation of a plan."""

    def __init__(self, *spaces: object) -> None:
        """Ignore the namespaces."""

    def apply(self, op: object) -> None:
        """Do nothing."""

    revert = apply


class Target:
    """The plugin, on a host and with a container of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pod = new_namespace()
        self.fence = Fence(folder)
        self.host = Host(root=folder, netns=self.pod, boot_id="boot")

    def request(self, data: bytes) -> None:
        """Carry out one request in this process."""
        environment, _, stdin = data.partition(b"\0\0")
        variables = protocol.parse_environment(environment) | {"CNI_PATH": "/nowhere"}
        done = self._answer(variables, stdin)
        if variables.get("CNI_COMMAND") == "ADD" and done.code == 0:
            again = self._answer(variables | {"CNI_COMMAND": "DEL"}, stdin)
            assert again.code == 0, again
            with Namespace() as host_ns:
                left = [link for link in host_ns.links() if link.name.startswith(("pw", "pi"))]
            assert not [link for link in left if link.kind != "bridge"], left
            self.clear()

    def _answer(self, variables: dict[str, str], stdin: bytes) -> PluginAnswer:
        with self.fence.up():
            done = answer(variables, stdin, self.host)
        check_answer(done.code, done.stdout)
        return done

    def clear(self) -> None:
        """Remove all links: bridges outlive DEL, and an ADD may have had no DEL."""
        with Namespace() as host_ns:
            for link in host_ns.links():
                if link.kind in {"bridge", "veth", "ifb"}:
                    host_ns.remove_link(link.name)

    def listen(self) -> Callable[[bytes], None]:
        """Return a function that handles one connection to a server in this process."""
        served = daemon.Server(self.folder / "cni.sock", "boot", lambda: True)
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        root = os.open(self.folder, os.O_RDONLY)
        nothing = os.open("/dev/null", os.O_RDONLY)
        # the second is no mount namespace, so not the server's: paths are below ``root``
        whole = [own, nothing, root, self.pod]
        choices = [whole, whole[:3], whole[:2], [], [self.pod, *whole[1:]], [nothing] * 4]

        def one(data: bytes) -> None:
            ours, theirs = socket.socketpair()
            with ours:
                descriptors = choices[data[0] % len(choices)] if data else []
                if data[1:]:
                    socket.send_fds(ours, [data[1:2]], descriptors)
                    ours.sendall(data[2:])
                ours.shutdown(socket.SHUT_WR)
                with self.fence.up():
                    served._handle(theirs)
                check_frames(b"".join(received(ours)))
            self.clear()

        return one


def received(connection: socket.socket) -> Iterator[bytes]:
    """The data of the other end, which may close without reading everything."""
    with suppress(ConnectionResetError):
        while data := connection.recv(1 << 16):
            yield data


def check_frames(answer: bytes) -> None:
    """Fail unless the server sent nothing, or that it takes the work and then its answer."""
    if not answer:
        return
    assert answer[:1] == b"T", answer
    (length,) = struct.unpack_from("!I", answer, 1)
    code, rest = struct.unpack_from("!BI", answer, 5 + length)
    stdout = answer[10 + length :]
    assert len(stdout) == rest, answer
    check_answer(code, stdout)


def main() -> None:
    """Fuzz until libFuzzer ends it."""
    assert "eth0:" not in Path("/proc/net/dev").read_text(), "not sealed off: use bin/test"
    kind, folder, *options = sys.argv[1:]
    if kind != "kernel":
        add_del_check.Applier = IdleApplier  # type: ignore[assignment,misc]
    target = Target(Path(folder))
    atheris.Setup([sys.argv[0], *options], target.listen() if kind == "socket" else target.request)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
