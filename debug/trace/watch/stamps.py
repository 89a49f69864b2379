"""Waits until the kernel stamps packets as they come.

It begins a moment after the machine's first socket that asks for it (net_enable_timestamp leaves it
to a worker); what came before has the time at which it was read, and no order.
"""

import socket
import struct
import time
from contextlib import ExitStack

_TYPE = 0x88B5  # ETH_P_802_EX1, for experiments on one's own machine: nobody receives it
_TIMESTAMP = 35  # SO_TIMESTAMPNS: asm-generic/socket.h
_PATIENCE = 1.0  # seconds
_TIME = struct.Struct("=qq")
_FRAME = bytes(12) + struct.pack("!H", _TYPE) + bytes(46)


def await_stamps() -> None:
    """Send frames to this thread's namespace by its loopback device until one is stamped.

    Raises OSError, also where that device is down.
    """
    deadline = time.monotonic() + _PATIENCE
    with ExitStack() as undo:
        sender, receiver = (
            undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) for _ in range(2)
        )
        receiver.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        receiver.settimeout(_PATIENCE)
        receiver.bind(("lo", _TYPE))
        while not _is_stamped(sender, receiver):
            if time.monotonic() > deadline:
                raise OSError("the kernel does not stamp packets")
            time.sleep(0.001)


def _is_stamped(sender: socket.socket, receiver: socket.socket) -> bool:
    sender.sendto(_FRAME, ("lo", _TYPE))
    passed = time.time_ns()  # a frame by the loopback device has come when sending returns
    _, extra, _, _ = receiver.recvmsg(len(_FRAME), 64)
    times = [_TIME.unpack(value[: _TIME.size]) for _, kind, value in extra if kind == _TIMESTAMP]
    return any(seconds * 1_000_000_000 + rest <= passed for seconds, rest in times)
