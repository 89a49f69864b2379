"""A dump that the kernel marks as interrupted is read again."""

import errno

import pytest

from cni_plugin.linux import uapi
from cni_plugin.linux.netlink import Socket


class Kernel:
    """A netlink socket whose dumps are interrupted, the first ``times`` of them."""

    def __init__(self, times: int, *, done_only: bool) -> None:
        self.times, self.done_only, self.asked = times, done_only, 0

    def send(self, message: bytes) -> None:
        self.asked += 1
        _, _, _, self.sequence, _ = uapi.NLMSGHDR.unpack_from(message)

    def recv(self, _: int) -> bytes:
        marked = uapi.NLM_F_DUMP_INTR if self.asked <= self.times else 0
        first = 0 if self.done_only else marked
        item = f"{self.asked:04}".encode()
        head = uapi.NLMSGHDR
        return b"".join(
            head.pack(head.size + 4, kind, flags, self.sequence, 0) + item
            for kind, flags in ((uapi.RTM_NEWLINK, first), (uapi.NLMSG_DONE, marked))
        )

    def close(self) -> None:
        pass


@pytest.mark.parametrize("done_only", [True, False])
def test_an_interrupted_dump_is_read_again(done_only):
    with Socket() as socket:
        socket._socket.close()
        socket._socket = kernel = Kernel(2, done_only=done_only)
        assert socket.dump(uapi.RTM_GETLINK, b"") == [b"0003"]
        assert socket.dump(uapi.RTM_GETLINK, b"") == [b"0004"]
        assert kernel.asked == 4
        kernel.times = 1 << 20
        with pytest.raises(OSError, match="changed in each") as raised:
            socket.dump(uapi.RTM_GETLINK, b"")
        assert raised.value.errno == errno.EBUSY
