"""The ends of certificates, and their renewal before that."""

import fcntl
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from control.install import certs_cli, credentials, renewal, systemd
from control.install.alone import alone
from control.install.layout import InstallError, Layout, Program
from control.install.progress import Progress
from control.install.settings import ControlPlaneSettings, check, write
from control.pki import create_authority, create_key

NOW = datetime.now(UTC)
QUIET, PROGRAM = Progress(quiet=True), Program("/opt/podwire/bin/python")
SERVICES = [f"podwire-{part}.service" for part in ("apiserver", "scheduler", "controllers", "dns")]


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The units that systemd would have restarted."""
    names: list[str] = []
    monkeypatch.setattr(systemd, "systemctl", lambda *words: names.append(words[-1]))
    return names


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The files of a control plane."""
    made = Layout(tmp_path)
    data = {"node": {"name": "cp", "ips": ["192.0.2.1"]}}
    settings = check(ControlPlaneSettings, data, "test")
    credentials.write(made, settings, NOW)
    write(made.cluster_file, settings)
    return made


@pytest.fixture
def commands(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The layout, which is that of the commands too."""
    monkeypatch.setattr(certs_cli, "_LAYOUT", layout)
    monkeypatch.setattr(certs_cli, "require_root", lambda: None)
    return layout


def test_what_ends_soon_is_renewed_and_its_readers_restart(layout: Layout, restarted: list[str]):
    assert renewal.renew(layout, PROGRAM, NOW, QUIET) == ((), ())
    assert restarted == []
    later = NOW + timedelta(days=300)
    changed, begun = renewal.renew(layout, PROGRAM, later, QUIET)
    assert {"apiserver", "kubelet-client", "admin.kubeconfig"} <= set(changed)
    assert "ca" not in changed, "nodes trust it"
    assert list(begun) == restarted == SERVICES


def test_every_certificate_is_renewed_on_demand(layout: Layout, restarted: list[str]):
    changed, _ = renewal.renew(layout, PROGRAM, NOW, QUIET, every=True)
    assert {"apiserver", "front-proxy-client", "dns.kubeconfig"} <= set(changed)
    assert restarted == SERVICES


def test_a_restart_that_failed_is_made_up_for(
    layout: Layout, restarted: list[str], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*words: str) -> None:
        raise InstallError(f"{words[-1]} does not start")

    with monkeypatch.context() as broken:
        broken.setattr(systemd, "systemctl", refuse)
        with pytest.raises(InstallError, match="does not start"):
            renewal.renew(layout, PROGRAM, NOW, QUIET, every=True)
    assert renewal.renew(layout, PROGRAM, NOW, QUIET) == ((), tuple(SERVICES))


def test_a_kill_after_a_certificate_was_written_leaves_its_readers_due(
    layout: Layout, restarted: list[str], monkeypatch: pytest.MonkeyPatch
):
    def write_and_die(*held: Any) -> None:
        save(*held)
        raise KeyboardInterrupt

    save = credentials._save
    (layout.pki / "front-proxy-client.crt").unlink()
    with monkeypatch.context() as killed:
        killed.setattr(credentials, "_save", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            renewal.renew(layout, PROGRAM, NOW, QUIET)
    assert (layout.pki / "front-proxy-client.crt").exists() and restarted == []
    assert renewal.renew(layout, PROGRAM, NOW, QUIET) == ((), tuple(SERVICES))


def test_a_renewal_is_alone_on_its_machine(layout: Layout, monkeypatch: pytest.MonkeyPatch):
    def is_locked(*_: str) -> None:
        with layout.lock.open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    monkeypatch.setattr(systemd, "systemctl", is_locked)
    assert renewal.renew(layout, PROGRAM, NOW, QUIET, every=True)[1] == tuple(SERVICES)
    assert layout.lock.stat().st_mode & 0o777 == 0o600, "who can open it can keep it locked"


def test_a_second_run_says_that_it_waits_for_the_first(tmp_path: Path):
    layout, events = Layout(tmp_path), Queue[str]()

    class Out(StringIO):
        def write(self, text: str) -> int:
            events.put(text)
            return len(text)

    def second() -> None:
        with alone(layout, Progress(out=Out())):
            events.put("second")

    with ThreadPoolExecutor() as pool:
        with alone(layout, QUIET):
            waiting = pool.submit(second)
            assert str(layout.lock) in events.get(timeout=60)
            assert not waiting.done()
            events.put("first")
        waiting.result(timeout=60)
    order = [each for each in iter(events.get_nowait, "second") if each.strip()]
    assert order[0] == "first" and order[1].startswith("✓ another run")


def test_a_node_alone_has_nothing_to_renew(tmp_path: Path):
    with pytest.raises(InstallError, match=r"no control plane.*renews the node's own"):
        renewal.renew(Layout(tmp_path), PROGRAM, NOW, QUIET)


def test_ends_are_shown(commands: Layout):
    (commands.pki / "kubelet-client.crt").write_text("")
    runner = CliRunner()
    rows = {
        Path(row["certificate"]).name: row
        for row in json.loads(
            runner.invoke(certs_cli.certs, ["check-expiration", "-o", "json"]).output
        )
    }
    assert rows["apiserver.crt"]["residual"] in ("364d", "365d")
    assert rows["admin.kubeconfig"]["renewedBy"] == "podwire-certs.timer"
    assert rows["ca.crt"]["renewedBy"] == "nobody"
    assert rows["kubelet-client.crt"]["expires"] == "<unreadable>"
    text = runner.invoke(certs_cli.certs, ["check-expiration"]).output.splitlines()
    assert text[0].split("   ")[0] == "CERTIFICATE" and len(text) == len(rows) + 1


def sign_anew(pki: Path, left: timedelta) -> None:
    """Give the authority of the front proxy another end; its key stays."""
    path = pki / "front-proxy-ca.crt"
    key = path.with_suffix(".key").read_bytes()
    path.write_bytes(create_authority("podwire front proxy", left, key).certificate)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (timedelta(days=366), ""),
        (timedelta(days=360), "ends on {day}, before certificates that it signs now"),
        (timedelta(minutes=-1), "ended on {day}: nobody trusts"),
    ],
)
def test_a_renewal_warns_of_an_authority_that_it_cannot_renew(
    commands: Layout, restarted: list[str], left: timedelta, said: str
):
    sign_anew(commands.pki, left)
    done = CliRunner().invoke(certs_cli.certs, ["renew", "-o", "json"])
    warnings = json.loads(done.stdout)["warnings"]
    assert done.exit_code == 0 and done.stderr.splitlines() == warnings
    assert len(warnings) == bool(said), "that of the cluster lives for ten years"
    day = f"{datetime.now(UTC) + left:%Y-%m-%d}"
    path = commands.pki / "front-proxy-ca.crt"
    assert all(f"{path} {said.format(day=day)}" in each for each in warnings)
    text = CliRunner().invoke(certs_cli.certs, ["renew"])
    assert text.stdout == "renewed: nothing, for nothing ends soon\n"
    assert all(each in text.stderr.splitlines() for each in warnings)


def rsa_pair() -> tuple[bytes, bytes]:
    """A certificate that says it is an authority's, as kubeadm's are, and its key."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(9))
    held = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return held, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (lambda: (b"", create_key()), "cannot be read"),
        (lambda: (create_authority("other").certificate, create_key()), "is not of the key"),
        (rsa_pair, "is not of an elliptic curve"),
    ],
    ids=["unreadable", "of another key", "RSA"],
)
def test_an_authority_that_cannot_sign_is_told(
    commands: Layout, pair: Callable[[], tuple[bytes, bytes]], said: str
):
    certificate, key = commands.pki / "ca.crt", commands.pki / "ca.key"
    for path, pem in zip((certificate, key), pair(), strict=True):
        path.write_bytes(pem)
    done = CliRunner().invoke(certs_cli.certs, ["renew"])
    assert isinstance(done.exception, SystemExit)
    told = str(done.exception)
    assert told.startswith(f"podwire certs: {certificate} {said}") and "put back" in told


def test_an_end_is_told_in_days_then_in_hours():
    def shown(left: timedelta) -> str:
        found = renewal.Ending(Path("/x.crt"), NOW + left, "nobody")
        return next(renewal.rows((found,), NOW))["residual"]

    lefts = (timedelta(days=90), timedelta(hours=7), timedelta(0), timedelta(days=-3))
    assert list(map(shown, lefts)) == ["90d", "7h", "<ended>", "<ended>"]
