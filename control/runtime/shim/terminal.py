"""Terminals from a container's own devpts, so that their names are valid inside it."""

import fcntl
import os
import socket
import struct
import termios

_PTMX = "/dev/pts/ptmx"
_PTMX_DEVICE = os.makedev(5, 2)
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441  # Linux 4.13: opens the other end without the container's paths


def open_pair() -> tuple[int, int]:
    """Open (master, slave) in the devpts of this process's root; raises OSError."""
    how = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    master = os.open(_PTMX, how | os.O_NOFOLLOW)
    try:
        if os.fstat(master).st_rdev != _PTMX_DEVICE:
            raise OSError(f"{_PTMX} of the container is not the kernel's")
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        return master, fcntl.ioctl(master, _TIOCGPTPEER, how)
    except OSError:
        os.close(master)
        raise


def hand_over(channel: socket.socket) -> int:
    """Open a terminal, send its master, and return its slave; raises OSError."""
    master, slave = open_pair()
    try:
        socket.send_fds(channel, [b"t"], [master])
    finally:
        os.close(master)
    return slave


def take_over(channel: socket.socket) -> int:
    """Receive a terminal's master; raises EOFError if the sender has closed the channel."""
    descriptors = socket.recv_fds(channel, 1, 1, socket.MSG_CMSG_CLOEXEC)[1]
    if not descriptors:
        raise EOFError("the channel was closed before a terminal came")
    return descriptors[0]


def resize(descriptor: int, width: int, height: int) -> None:
    """Set a terminal's size; the kernel sends SIGWINCH to its processes."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
