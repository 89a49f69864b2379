"""Which files of a path are static Pods, and when they change."""

import pytest

from control.agent.static.folder import Manifests
from tests.support.control.static_pods import POD


class Folder:
    def __init__(self, path):
        self.path, self.now = path, 100.0
        self.manifests = Manifests(path, "n1", lambda: self.now)

    def write(self, name, text):
        fresh = self.path / ".fresh"
        fresh.write_text(text)
        fresh.rename(self.path / name)

    def images(self):
        pods = self.manifests.read()
        return {name: pod.spec.containers[0].image for (_, name), pod in pods.items()}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_files_come_change_and_go(folder):
    assert folder.images() == {}
    folder.write("web.yaml", POD)
    (folder.path / ".hidden").write_text(POD.replace("web", "hidden"))
    (folder.path / "below").mkdir()
    assert folder.images() == {"web-n1": "app:1"}
    first = folder.manifests.read()
    folder.write("web.yaml", f"# the same\n{POD}")
    assert folder.manifests.read()["default", "web-n1"] is first["default", "web-n1"]
    folder.write("web.yaml", POD.replace("app:1", "app:2"))
    assert folder.images() == {"web-n1": "app:2"}
    (folder.path / "web.yaml").unlink()
    assert folder.images() == {}


def test_a_broken_file_keeps_its_pod_for_a_while(folder, caplog):
    folder.write("web.yaml", POD)
    folder.images()
    folder.write("web.yaml", POD[:40])
    assert folder.images() == {"web-n1": "app:1"}
    folder.now += 19
    folder.write("web.yaml", "")  # still broken
    assert folder.images() == {"web-n1": "app:1"}
    folder.now += 1
    assert folder.images() == folder.images() == {}
    assert len(caplog.records) == 2  # each content once
    folder.write("web.yaml", POD)
    assert folder.images() == {"web-n1": "app:1"}


def test_one_broken_file_keeps_no_other(folder):
    folder.write("a.yaml", "{")
    folder.write("web.yaml", POD)
    assert folder.images() == {"web-n1": "app:1"}


def test_the_last_file_of_a_name_counts(folder, caplog):
    folder.write("a.yaml", POD)
    folder.write("b.yaml", POD.replace("app:1", "app:2"))
    assert folder.images() == {"web-n1": "app:2"}
    assert "b.yaml has a Pod of another file's name" in caplog.text


def test_the_last_file_of_a_uid_counts(folder, caplog):
    """Folders of Pods have the names of their UIDs."""
    mine = POD.replace("  name: web\n", "  name: web\n  uid: mine\n")
    folder.write("a.yaml", mine)
    folder.write("b.yaml", mine.replace("name: web", "name: other"))
    assert folder.images() == {"other-n1": "app:1"}
    assert "b.yaml has the UID of default/web-n1" in caplog.text


def test_a_link_in_a_circle_hides_no_other_file(folder, caplog):
    (folder.path / "a.yaml").symlink_to("a.yaml")
    folder.write("web.yaml", POD)
    assert folder.images() == folder.images() == {"web-n1": "app:1"}
    assert len(caplog.records) == 1 and "Too many levels of symbolic links" in caplog.text


def test_a_path_may_be_a_file_or_absent(folder, caplog):
    file = folder.path / "one.yaml"
    one = Manifests(file, "n1")
    assert one.read() == one.read() == {}
    assert len(caplog.records) == 1
    file.write_text(POD)
    assert [*one.read()] == [("default", "web-n1")]
    file.unlink()
    assert one.read() == {}


def test_a_path_that_cannot_be_listed_keeps_its_pods(folder, monkeypatch):
    folder.write("web.yaml", POD)
    folder.images()

    def fail(_self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", fail)
    assert folder.images() == {"web-n1": "app:1"}
