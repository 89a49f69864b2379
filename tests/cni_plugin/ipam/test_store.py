"""Reservations: host-local's files, an index that repairs itself, and recovery after crashes."""

import shutil
import tempfile
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cni_plugin.ipam.store import Owner, ReservationStore

ONE, OTHER = Owner("one", "eth0"), Owner("other", "net1")
A, B, C = (ip_address(f"10.0.0.{i}") for i in (2, 3, 4))


@pytest.fixture
def data(tmp_path):
    return tmp_path / "networks"


def store(data, boot="boot-1"):
    return ReservationStore(data, "net", boot)


def files(data):
    return {path.name for path in (data / "net").iterdir() if path.name[0].isdigit()}


def test_reserved_addresses_are_found_and_released(data):
    with store(data) as one:
        one.reserve(ONE, [(0, A), (1, B)])
        assert not one.is_free(A)
        assert one.held_by(ONE) == (A, B)
        assert one.held_by(OTHER) == ()
        assert one.last(0) == A
    with store(data) as one:
        assert one.release(ONE) == (A, B)
        assert one.release(ONE) == ()
        assert one.is_free(A)
    assert files(data) == set()


def test_reservations_of_host_local_count(data):
    with store(data) as one:
        one.reserve(ONE, [(0, A)])
    (data / "net" / str(B)).write_bytes(b"other\r\nnet1")
    (data / "net" / str(C)).write_bytes(b"ancient")
    with store(data) as one:
        assert one.held_by(OTHER) == (B,)
        assert one.held_by(Owner("ancient", "eth0")) == (C,)
        one.release(Owner("ancient", "eth0"))
        one.release(OTHER)
    assert files(data) == {str(A)}


@pytest.mark.parametrize("name", ["é0", "网络".encode()[:-1]])
def test_an_interface_name_may_be_any_bytes(data, name):
    """host-local writes those bytes as they are; a live Pod's address must not be freed."""
    raw = name if isinstance(name, bytes) else name.encode()
    owner = Owner("other", raw.decode(errors="surrogateescape"))
    with store(data) as one:
        one.reserve(owner, [(0, A)])
    assert (data / "net" / str(A)).read_bytes() == b"other\r\n" + raw
    (data / "net" / str(B)).write_bytes(b"third\r\n" + raw)
    with store(data) as one:  # the folder has changed, so the index is made anew
        assert not one.is_free(B)
        assert one.held_by(owner) == (A,)
        assert one.release(owner) == (A,)
    assert files(data) == {str(B)}


@pytest.mark.parametrize("torn", [b"", b"\0\0\0", b"\xff\xfe"])
def test_a_torn_file_reserves_nothing(data, torn):
    with store(data):
        pass
    (data / "net" / str(A)).write_bytes(torn)
    with store(data) as one:
        assert list(one.reservations()) == []
        assert one.first_free([A, B]) == A


def test_removing_the_folder_releases_everything(data):
    with store(data) as one:
        one.reserve(ONE, [(0, A)])
    for path in (data / "net").iterdir():
        path.unlink()
    with store(data) as one:
        assert one.held_by(ONE) == ()


def test_a_reboot_releases_everything_but_files_written_after_it(data):
    with store(data) as one:
        one.reserve(ONE, [(0, A)])
    (data / "net" / str(B)).write_bytes(b"other\r\nnet1")  # by host-local, since the boot
    with store(data, "boot-2") as one:
        assert one.held_by(ONE) == ()
        assert one.held_by(OTHER) == (B,)
    assert files(data) == {str(B)}


def test_first_free_skips_many_taken_addresses(data):
    crowd = [ip_address(f"10.0.{i >> 8}.{i & 255}") for i in range(300)]
    with store(data) as one:
        for number, address in enumerate(crowd):
            one.reserve(Owner(f"c{number}", "eth0"), [(0, address)])
        free = ip_address("10.0.9.9")
        assert one.first_free([*crowd, free]) == free
        assert one.first_free(crowd) is None


class _KilledError(BaseException):
    """Stands for kill -9."""


class Crashes(RuleBasedStateMachine):
    """Any sequence of reservations, releases, crashes during these, and changes by host-local."""

    @initialize(folder=st.uuids())
    def begin(self, folder):
        self.data = Path(tempfile.mkdtemp(prefix=f"store-{folder}"))
        self.model: dict[str, str] = {}

    @rule(number=st.integers(0, 3), address=st.integers(1, 5), kill=st.none() | st.integers(0, 6))
    def reserve(self, number, address, kill):
        owner, wanted = Owner(f"c{number}", "eth0"), ip_address(f"10.0.0.{address}")
        if any(name == owner.container_id for name in self.model.values()):
            return
        if str(wanted) in self.model:
            return
        try:
            with Dying(self.data, kill) as one:
                one.reserve(owner, [(0, wanted)])
        except _KilledError:
            pass
        # a killed ADD may or may not have reserved: the runtime sends DEL
        if kill is not None:
            with store(self.data) as one:
                one.release(owner)
        else:
            self.model[str(wanted)] = owner.container_id

    @rule(number=st.integers(0, 3), kill=st.none() | st.integers(0, 6))
    def release(self, number, kill):
        owner = Owner(f"c{number}", "eth0")
        try:
            with Dying(self.data, kill) as one:
                one.release(owner)
        except _KilledError:
            pass
        with store(self.data) as one:  # the runtime tries again until it succeeds
            one.release(owner)
        self.model = {a: name for a, name in self.model.items() if name != owner.container_id}

    @rule(number=st.integers(4, 6), address=st.integers(1, 5))
    def foreign(self, number, address):
        wanted = f"10.0.0.{address}"
        if wanted in self.model:
            return
        (self.data / "net").mkdir(parents=True, exist_ok=True)
        (self.data / "net" / wanted).write_bytes(f"c{number}\r\neth0".encode())
        self.model[wanted] = f"c{number}"

    @invariant()
    def files_are_the_truth(self):
        if not hasattr(self, "data"):
            return
        with store(self.data) as one:
            found = {str(address): owner.container_id for address, owner in one.reservations()}
            assert found == self.model
            for name in set(self.model.values()):
                held = {str(address) for address in one.held_by(Owner(name, "eth0"))}
                assert held == {a for a, owner in self.model.items() if owner == name}

    def teardown(self):
        if hasattr(self, "data"):
            shutil.rmtree(self.data)


class Dying(ReservationStore):
    """A store whose process dies after a number of writes."""

    def __init__(self, data, writes):
        super().__init__(data, "net", "boot-1")
        self._left = writes

    def _count(self):
        if self._left is not None:
            if self._left == 0:
                raise _KilledError
            self._left -= 1

    def _put(self, path, text):
        self._count()
        super()._put(path, text)

    def _write_index(self, owner, addresses, *, wired):
        self._count()
        super()._write_index(owner, addresses, wired=wired)


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
