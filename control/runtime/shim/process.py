"""Starts one process inside a container: namespaces, privileges, command.

All imports are at the top: once the root has changed, Python's library is out of reach.

``control.runtime.builtin.spec`` renders the process specification ("spec" below).
"""

import base64
import fcntl
import os
import signal
import socket
import termios
from contextlib import suppress
from typing import Any

from control.linux import syscalls
from control.runtime.shim import rootfs, terminal

_FLAGS = {
    "net": syscalls.CLONE_NEWNET,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
    "pid": syscalls.CLONE_NEWPID,
    "mnt": syscalls.CLONE_NEWNS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}


class StartError(Exception):
    """The container's process could not be started; the text names the step and the cause."""


def start(
    spec: dict[str, Any], stdio: tuple[int, int, int], channel: socket.socket | None = None
) -> int:
    """Start a container's first process; return its process ID as the caller sees it.

    With a ``channel`` the process gets a terminal instead of ``stdio``; the terminal's master is
    sent through the channel.

    There are two forks, because a process can change only its children's PID namespace: a process
    in the middle enters the namespaces, and the caller (a child subreaper) inherits its child.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    middle = os.fork()
    if middle == 0:
        os.close(reader)
        _in_child(writer, lambda: _enter_and_fork(spec, stdio, writer, channel))
    os.close(writer)
    os.waitpid(middle, 0)
    pid, error = _read_report(reader)
    if error:
        raise StartError(error)
    return pid


def execute(spec: dict[str, Any], agent: socket.socket) -> int:
    """Run another process inside a running container; return its exit code.

    It has this process's stdio, or a terminal of the container, whose master is sent to the agent.
    This process stays outside of the container's control groups: it would take of the container's
    memory, and if the kernel killed it for that, nobody would reap the other one, as whose zombie
    the container would never end.
    """
    groups = [os.open(procs_of(path), os.O_WRONLY | os.O_CLOEXEC) for path in spec["cgroups"]]
    folders = [
        os.open(f"/proc/{spec['pid']}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        for name in spec["enter"]
    ]
    for folder in folders:
        syscalls.setns(folder)
    if spec["terminal"]:
        slave = terminal.hand_over(agent)
        for number in (0, 1, 2):
            os.dup2(slave, number)
        os.close(slave)
    agent.close()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    gate, opened = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.close(opened)
        _in_child(writer, lambda: _become_once_moved(gate, spec))
    os.close(writer)
    # On SIGTERM kill and reap the child: as a zombie of the node's process 1 it would delay the end
    # of its namespace.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    _move(child, groups)
    os.write(opened, b".")
    _, error = _read_report(reader)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if error:
        raise StartError(error)
    return code if code >= 0 else 128 - code


def _move(child: int, groups: list[int]) -> None:
    """Move a process that waits into control groups; end it if they are gone. Raises OSError."""
    try:
        for group in groups:
            os.write(group, b"%d" % child)
    except OSError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def _become_once_moved(gate: int, spec: dict[str, Any]) -> None:
    """Turn this process into the specified one when its parent says so; end it with the parent."""
    if not os.read(gate, 1):
        os._exit(127)
    _become(spec, (0, 1, 2), follow=True)


def _in_child(writer: int, body: Any) -> None:
    """Run the body of a forked process; report a failure; never return."""
    try:
        body()
    except BaseException as error:  # noqa: BLE001  a fork must not return into its parent's code
        os.write(writer, f"error {error}\n".encode())
    os._exit(127)


def _read_report(reader: int) -> tuple[int, str]:
    """Read (process ID, error) from the forked processes; end of file means that exec succeeded."""
    with open(reader, "rb") as file:
        lines = file.read().decode(errors="replace").splitlines()
    pid, error = 0, ""
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "pid":
            pid = int(rest)
        else:
            error = error or rest
    return pid, error


def _enter_and_fork(
    spec: dict[str, Any],
    stdio: tuple[int, int, int],
    writer: int,
    channel: socket.socket | None,
) -> None:
    for path in spec["cgroups"]:
        join_cgroup(path)
    _score(spec["oom_score_adj"])
    for name, path in spec["join"].items():
        syscalls.enter(path, _FLAGS[name])
    syscalls.unshare(sum(_FLAGS[name] for name in spec["unshare"]))
    child = os.fork()
    if child:
        os.write(writer, f"pid {child}\n".encode())
        os._exit(0)
    rootfs.build(spec["root"])
    if spec["pause"]:
        _pause(stdio[0])
    if channel is not None:
        stdio = (terminal.hand_over(channel),) * 3
    _become(spec, stdio)


def _become(spec: dict[str, Any], stdio: tuple[int, int, int], follow: bool = False) -> None:
    """Turn this process into the specified one; returns only by an error."""
    for number, descriptor in enumerate(stdio):
        os.dup2(descriptor, number)
    os.setsid()
    if spec["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    user, group, groups, home = _identity(spec)
    if spec["terminal"]:
        os.fchown(0, user, -1)  # so that it can open /dev/stdout, as runc does
    _drop_rights(spec, user, group, groups)
    if follow:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    _run(spec, home)


def _drop_rights(spec: dict[str, Any], user: int, group: int, groups: list[int]) -> None:
    os.umask(0o022)
    if not spec["no_new_privileges"]:
        _filter_calls(spec)  # takes CAP_SYS_ADMIN, which the next lines may drop
    if spec["capabilities"] is not None:
        syscalls.drop_bounding(spec["capabilities"])
    os.setgroups(groups)
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    if spec["capabilities"] is not None and user == 0:
        syscalls.set_capabilities(spec["capabilities"])
    if spec["no_new_privileges"]:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        _filter_calls(spec)


def _filter_calls(spec: dict[str, Any]) -> None:
    if program := spec.get("seccomp"):  # a container of an earlier agent has none
        syscalls.filter_calls(base64.b64decode(program))


def _run(spec: dict[str, Any], home: str) -> None:
    environment = {"HOME": home, **spec["environment"]}
    try:
        os.chdir(spec["directory"])
    except FileNotFoundError:
        os.makedirs(spec["directory"])
        os.chdir(spec["directory"])
    _restore_signals()
    name = spec["arguments"][0]
    try:
        os.execvpe(name, spec["arguments"], environment)  # noqa: S606  a container's own command
    except FileNotFoundError:
        where = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        raise StartError(f'exec: "{name}": {where}') from None
    except OSError as error:
        raise StartError(f'exec: "{name}": {(error.strerror or "").lower()}') from None


def _restore_signals() -> None:
    """Reset all signals: ignored ones stay ignored across exec, and a shell cannot trap them."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _pause(nothing: int) -> None:
    """Be process 1 of the Pod's shared process namespace: reap until SIGTERM."""
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.closerange(3, 1024)
    awaited = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    while signal.sigwait(awaited) == signal.SIGCHLD:
        while _reaped_one():
            continue
    os._exit(0)


def _reaped_one() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def join_cgroup(folder: str) -> None:
    """Move this process into a control group; into a container's ``box``."""
    with open(procs_of(folder), "w") as file:
        file.write("0")


def procs_of(folder: str) -> str:
    """Return the file of a control group's processes; of a container's ``box`` (cgroups.py)."""
    box = f"{folder}/box"
    return f"{box if os.path.isdir(box) else folder}/cgroup.procs"


def _score(adjustment: int) -> None:
    """Set oom_score_adj; lowering it takes CAP_SYS_RESOURCE."""
    with suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(adjustment))


def _identity(spec: dict[str, Any]) -> tuple[int, int, list[int], str]:
    """Return (user, group, supplementary groups, home) by the container's own /etc/passwd.

    ``user`` is ``NAME``, ``UID``, ``NAME:GROUP`` or ``UID:GID`` (OCI image config, "User").
    """
    wanted, _, wanted_group = spec["user"].partition(":")
    user, group, home, name = _look_up_user(wanted or "0")
    if wanted_group:
        group = _look_up_group(wanted_group)
    if spec["group"] is not None:
        group = spec["group"]
    members = [number for number, members in _groups().values() if name and name in members]
    return user, group, sorted({group, *members, *spec["groups"]}), home


def _look_up_user(wanted: str) -> tuple[int, int, str, str]:
    for fields in _table("/etc/passwd", 6):
        if wanted in (fields[0], fields[2]):
            return int(fields[2]), int(fields[3]), fields[5] or "/", fields[0]
    if not wanted.isdecimal():
        raise StartError(f"unable to find user {wanted}: no matching entries in passwd file")
    return int(wanted), 0, "/", ""


def _look_up_group(wanted: str) -> int:
    if wanted.isdecimal():
        return int(wanted)
    if wanted not in _groups():
        raise StartError(f"unable to find group {wanted}: no matching entries in group file")
    return _groups()[wanted][0]


def _groups() -> dict[str, tuple[int, list[str]]]:
    return {row[0]: (int(row[2]), row[3].split(",")) for row in _table("/etc/group", 4)}


def _table(path: str, columns: int) -> list[list[str]]:
    """Return the valid rows of a colon-separated file; none if there is no file."""
    try:
        rows = [line.split(":") for line in syscalls.read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    return [row for row in rows if len(row) >= columns and row[2].isdecimal()]
