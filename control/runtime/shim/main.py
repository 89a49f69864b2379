"""The shim's main program: starts a container, keeps its log, and records its end.

    python3 -IS -c BOOT ROOT run DIRECTORY FD   run a container; report its start on FD
    python3 -IS -c BOOT ROOT exec FD            run a process in a container; FD is a socket for
                                                its spec, and for the terminal on the way back

In DIRECTORY the shim reads ``spec.json`` and writes ``started.json`` and ``exit.json``, each whole
or not at all, for agents that are started later. Clients attach through the socket ``attach``
there.
"""

import errno
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from control.linux import processes, syscalls, whole
from control.runtime.shim import attachments, logs, process, stdio

_CHANNELS = {"stdout": attachments.STDOUT, "stderr": attachments.STDERR}
_DRAIN_SECONDS = 2.0  # to wait for the rest of the output when the process is gone


def main(arguments: list[str]) -> int:
    """Run one of the two modes; return the exit code."""
    mode, *directory, descriptor = arguments
    os.set_inheritable(int(descriptor), False)
    if mode == "exec":
        return _exec(int(descriptor))
    return Shim(directory[0], int(descriptor)).run()


def _exec(descriptor: int) -> int:
    # The command serves a session of the agent: without the agent, it ends.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGTERM)
    agent = socket.socket(fileno=descriptor)
    with agent.makefile("rb") as file:
        spec = json.loads(file.read())
    try:
        return process.execute(spec, agent)
    except (process.StartError, OSError) as error:
        os.write(2, f"{error}\n".encode())
        return 126 if isinstance(error, process.StartError) else 125


class Shim:
    """The shim of one container, from its start to its end."""

    def __init__(self, directory: str, report: int) -> None:
        self._directory, self._report = directory, report
        self._spec: dict[str, Any] = json.loads(syscalls.read_text(f"{directory}/spec.json"))
        log = self._spec["log"]
        self._log = logs.LogWriter(log["path"], log["most_bytes"], log["most_files"])
        self._poll = select.poll()
        self._streams: dict[int, logs.LogStream] = {}
        self._names: dict[int, str] = {}
        self._listening = False
        self._pid = 0
        self._status: int | None = None

    def run(self) -> int:
        """Start the container, wait for its end, record it."""
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if self._spec["shim_cgroup"]:
            process.join_cgroup(self._spec["shim_cgroup"])
        wake = self._wake_on_children()
        try:
            self._start()
        except (process.StartError, OSError) as error:
            self._record_exit(128, "StartError", str(error))
            self._tell(" ".join(str(error).split()))
            return 1
        self._tell("ok")
        self._supervise(wake)
        self._poll.unregister(wake)
        self._finish()
        return 0

    def _tell(self, outcome: str) -> None:
        try:
            os.write(self._report, f"{outcome}\n".encode())
        except BrokenPipeError:
            return  # the agent died meanwhile; the next one reads the files
        os.close(self._report)

    def _wake_on_children(self) -> int:
        """Return a descriptor that is readable after SIGCHLD, so that one poll waits for all."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll.register(reader, select.POLLIN)
        return reader

    def _start(self) -> None:
        door = attachments.open_door(self._directory)
        self._pid, self._names, source = stdio.start(self._spec)
        self._attached = attachments.Attachments(self._poll, door, source)
        for descriptor, name in self._names.items():
            self._streams[descriptor] = logs.LogStream(name, self._log)
        started = {
            "pid": self._pid,
            "pid_start": processes.start_ticks(self._pid, zombies=True),
            "time": _now(),
        }
        _write(self._directory, "started.json", started)

    def _supervise(self, wake: int) -> None:
        while self._status is None:
            self._listen(not self._attached.behind)
            for descriptor, events in self._poll.poll():
                if descriptor == wake:
                    os.read(wake, 4096)
                else:
                    self._serve(descriptor, events)
            self._reap()

    def _listen(self, wanted: bool) -> None:
        """Begin or end to poll for output; a closed pipe wakes a poll even for no events."""
        if wanted == self._listening:
            return
        self._listening = wanted
        for descriptor in self._streams:
            if wanted:
                self._poll.register(descriptor, select.POLLIN)
            else:
                self._poll.unregister(descriptor)

    def _serve(self, descriptor: int, events: int) -> None:
        if descriptor in self._streams:
            self._copy(descriptor)
        else:
            self._attached.handle(descriptor, events)

    def _reap(self) -> None:
        """Reap every dead child; with the node's process namespace these include orphans."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._status = os.waitstatus_to_exitcode(status)

    def _copy(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return  # another process has read the terminal
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal's error when its other end is closed
                raise
            data = b""
        if data:
            self._streams[descriptor].feed(data)
            self._attached.send(_CHANNELS[self._names[descriptor]], data)
            return
        self._poll.unregister(descriptor)
        self._streams.pop(descriptor).close()
        os.close(descriptor)

    def _finish(self) -> None:
        finished = _now()
        _kill_groups(self._spec["cgroups"])
        self._drain()
        killed = any(_oom_kills(folder) for folder in self._spec["cgroups"])
        code = self._status or 0
        reason = "Completed" if code == 0 else "OOMKilled" if killed else "Error"
        self._record_exit(code if code >= 0 else 128 - code, reason, "", finished)
        for folder in self._spec["cgroups"]:
            _remove_group(folder)

    def _drain(self) -> None:
        """Log the rest of the output, and send it to attached clients."""
        self._listen(True)
        until = time.monotonic() + _DRAIN_SECONDS
        while (self._streams or self._attached.behind) and (left := until - time.monotonic()) > 0:
            for descriptor, events in self._poll.poll(left * 1000):
                self._serve(descriptor, events)
        for stream in self._streams.values():
            stream.close()

    def _record_exit(self, code: int, reason: str, message: str, when: float = 0) -> None:
        """Write exit.json; on a full disk wait for room, so that the exit code is not lost."""
        record = {"code": code, "reason": reason, "message": message, "time": when or _now()}
        while True:
            try:
                return _write(self._directory, "exit.json", record)
            except FileNotFoundError:
                return None  # the container was removed: the record is not needed
            except OSError:
                time.sleep(1)


def _write(directory: str, name: str, value: dict[str, Any]) -> None:
    whole.write(f"{directory}/{name}", json.dumps(value), 0o600)


def _now() -> float:
    return time.time()


def _kill_groups(folders: list[str]) -> None:
    """Kill all other processes of a container that has no process namespace of its own."""
    if any(_kill_at_once(folder) for folder in folders):
        return
    for _ in range(10):  # cgroup v1, or a kernel before 5.14
        pids = {int(line) for group in _tree(folders) for line in _lines(f"{group}/cgroup.procs")}
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return


def _kill_at_once(folder: str) -> bool:
    """Kill a group and those below by cgroup2's cgroup.kill; False if it has none."""
    try:
        with open(f"{folder}/cgroup.kill", "w") as file:
            file.write("1")
    except OSError:
        return False
    return True


def _tree(folders: list[str]) -> list[str]:
    """The folders and all below them, each after its own."""
    return [path for folder in folders for path, _, _ in os.walk(folder, topdown=False)]


def _oom_kills(folder: str) -> int:
    """The number of kills for memory: v2 memory.events, v1 memory.oom_control.

    v2 counts those of the groups below, v1 does not.
    """
    return sum(_count_kills(path) for path in _tree([folder]))


def _count_kills(folder: str) -> int:
    for name in ("memory.events", "memory.oom_control"):
        for line in _lines(f"{folder}/{name}"):
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
    return 0


def _lines(path: str) -> list[str]:
    try:
        return syscalls.read_text(path).splitlines()
    except OSError:
        return []


def _remove_group(folder: str) -> None:
    """Remove a cgroup and those below; an unreaped zombie keeps it busy for some milliseconds."""
    for _ in range(50):
        try:
            for path in _tree([folder]):
                os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
