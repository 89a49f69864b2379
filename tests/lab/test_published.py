"""What a lab's folder keeps of its published ports."""

import io

import pytest
from rich.console import Console

from lab import published
from lab.goals import Goal, Published
from lab.publish import PublishError, Request, parse, written
from lab.report import Steps
from lab.spec import make_spec
from lab.state import LabDir

WEB = Published("127.0.0.1", 8080, Goal("default", "web", "80", "tcp"))
DNS = Published("::1", 53, Goal("kube-system", "kube-dns", "dns", "udp"))


@pytest.fixture
def lab(tmp_path):
    made = LabDir(tmp_path / "a")
    made.create(make_spec("a"))
    return made


def request(one):
    return Request(one.address, one.port, one.goal)


def test_ports_are_kept_and_forgotten(lab):
    assert published.kept(lab) == ()
    for one in (WEB, DNS, WEB):
        published.remember(lab, one)
    assert published.kept(lab) == (request(DNS), request(WEB))
    assert [parse(written(one)) for one in (WEB, DNS)] == [request(WEB), request(DNS)]
    other = Request("127.0.0.1", 8080, Goal("default", "other", "80", "tcp"))
    assert published.forget(lab, other)  # the place on the host counts
    assert not published.forget(lab, other)
    assert published.kept(lab) == (request(DNS),)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"publish": 1}', '{"publish": ["x"]}', "[" * 99999]
)
def test_a_damaged_file_is_named(lab, text):
    (lab.path / published.NAME).write_text(text)
    with pytest.raises(PublishError, match=r"published.json: .*; remove the file"):
        published.kept(lab)


def test_each_port_is_opened_again_and_what_cannot_be_is_told(lab, monkeypatch):
    def publish(_, wanted):
        if wanted.port == 8080:
            raise PublishError("127.0.0.1:8080: Address already in use")
        return DNS

    monkeypatch.setattr("lab.published.publish", publish)
    for one in (WEB, DNS):
        published.remember(lab, one)
    said = io.StringIO()
    published.publish_again(lab, Steps(Console(file=said, width=200)))
    assert "not published: 127.0.0.1:8080: Address already in use" in said.getvalue()
    assert "published: [::1]:53 → kube-system/kube-dns:dns/udp" in said.getvalue()
    assert len(published.kept(lab)) == 2
