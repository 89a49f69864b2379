"""Reading a log while it is written and rotated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.agent.server.logfile import LogFile

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.binary(max_size=30)),
        st.tuples(st.just("rotate"), st.just(b"")),
        st.tuples(st.just("read"), st.just(b"")),
    ),
    max_size=40,
)


@given(STEPS)
def test_every_whole_line_is_read_once_and_in_order(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("log") / "0.log"
    path.touch()
    log, written, found, rest = LogFile(path), [], [], b""
    for number, (what, data) in enumerate(steps):
        if what == "write":
            with path.open("ab") as file:
                file.write(data)
            *lines, rest = (rest + data).split(b"\n")
            written += lines
        elif what == "rotate" and not rest:  # the shim rotates between lines
            path.rename(f"{path}.20261122-{number:06d}")
            path.touch()
        elif what == "read":
            found += log.read()
    while lines := log.read():
        found += lines
    log.close()
    assert found == written


def test_a_reader_slower_than_the_rotation_continues_with_the_rest(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(b"one\n")
    log = LogFile(path)
    assert log.read() == [b"one"]
    path.unlink()
    (tmp_path / "0.log.20261122-000002").write_bytes(b"three\n")
    path.write_bytes(b"four\n")
    assert [*log.read(), *log.read(), *log.read()] == [b"three", b"four"]
    log.close()


def test_a_log_that_was_removed_ends(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(b"one\n")
    log = LogFile(path)
    path.unlink()
    assert log.read() == [b"one"]
    assert log.read() == []
    log.close()


def test_a_moment_without_a_current_file_is_waited_for(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(b"one\n")
    log = LogFile(path)
    path.rename(tmp_path / "0.log.20261122-000001")
    assert [*log.read(), *log.read()] == [b"one"]
    path.write_bytes(b"two\n")
    assert log.read() == [b"two"]
    log.close()


def test_no_log_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        LogFile(tmp_path / "0.log")


def test_compressed_files_are_left_to_kubelet(tmp_path):
    (tmp_path / "0.log.20261122-000001.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "0.log").write_bytes(b"one\n")
    log = LogFile(tmp_path / "0.log")
    assert log.read() == [b"one"]
    log.close()
