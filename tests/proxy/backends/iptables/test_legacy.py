"""The watch on iptables' lock."""

from pathlib import Path

from proxy.backends.iptables.legacy import XtablesLock


def test_a_lock_that_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    lock = XtablesLock(path)
    assert not lock.was_taken()
    with path.open():
        assert not lock.was_taken()  # what is being done is not done yet
    assert lock.was_taken()
    assert not lock.was_taken()


def test_a_missing_lock_may_have_been_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = XtablesLock(path)
    assert lock.was_taken()
    path.touch()
    lock.was_taken()
    assert not lock.was_taken()
    path.unlink()
    path.touch()  # another file of that name
    lock.was_taken()
    with path.open():
        pass
    assert lock.was_taken()
