"""Dumps of the kernel's tables while they change."""

import errno
import struct

import pytest

from proxy.linux.netlink import ROUTE, InterruptedDumpError, Netlink, consistent

_HEADER = struct.Struct("=IHHII")
_GET, _ENTRY, _DONE, _INTERRUPTED = 22, 20, 3, 0x10


class Kernel:
    """A socket of a kernel that interrupts the first dumps."""

    def __init__(self, interrupts: int, last_only: bool = False) -> None:
        self.interrupts = interrupts
        self.asked = 0
        self._last_only = last_only
        self._answers: list[bytes] = []

    def send(self, data: bytes) -> None:
        number = _HEADER.unpack_from(data)[3]
        flag = _INTERRUPTED if self.asked < self.interrupts else 0
        self.asked += 1
        entry = b"%4d" % self.asked
        kinds = ((_ENTRY, 0 if self._last_only else flag, entry), (_DONE, flag, bytes(4)))
        for kind, flags, body in kinds:
            self._answers.append(_HEADER.pack(20, kind, 2 | flags, number, 0) + body)

    def recv(self, _size: int) -> bytes:
        return self._answers.pop(0)


def reading(kernel: Kernel):
    netlink = Netlink(ROUTE)
    netlink.close()
    netlink._socket = kernel
    return lambda: list(netlink.dump(_GET, b""))


@pytest.mark.parametrize("last_only", [False, True])
def test_an_interrupted_dump_is_read_again(last_only: bool) -> None:
    kernel = Kernel(2, last_only)
    assert consistent(reading(kernel)) == [b"   3"]


def test_one_dump_says_that_it_was_interrupted() -> None:
    with pytest.raises(InterruptedDumpError):
        reading(Kernel(1))()


def test_a_table_that_never_rests_is_an_error_and_not_a_loop() -> None:
    kernel = Kernel(10**6)
    with pytest.raises(OSError, match="changed during each of 20 readings") as caught:
        consistent(reading(kernel))
    assert (caught.value.errno, kernel.asked) == (errno.EBUSY, 20)
