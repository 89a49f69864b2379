"""What ``podwire lab set store`` refuses before it touches a lab."""

import pytest
from rich.console import Console

from lab.report import Steps
from lab.spec import make_spec
from lab.state import LabDir
from lab.store_change import StoreChangeError, set_store


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({}, "sqlite", "keeps its objects in sqlite already"),
        ({"store": "etcd", "control_planes": 3}, "sqlite", "several control planes"),
    ],
)
def test_a_change_that_cannot_be_is_refused(tmp_path, options, kind, why):
    lab = LabDir(tmp_path / "a")
    with pytest.raises(StoreChangeError, match=why):
        set_store(lab, make_spec("a", **options), kind, Steps(Console()))
    assert not lab.path.exists()
