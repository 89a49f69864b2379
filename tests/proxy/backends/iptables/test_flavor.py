"""The detection of a node's iptables flavor, from its commands and the kernel."""

import pytest

from proxy.backends.iptables.tool import Flavor, detect

EMPTY = "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"
FIREWALL = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\n-A INPUT -j LOG\nCOMMIT\n"
SERVICES = "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n"
HINT = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Make a node whose iptables commands print given rules; return its flavor."""
    commands, proc = tmp_path / "bin", tmp_path / "proc"
    commands.mkdir()
    (proc / "net").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(commands))

    def command(name, says):
        path = commands / name
        path.write_text(f"#!/bin/sh\nwhile read -r line; do echo \"$line\"; done <<'E'\n{says}E\n")
        path.chmod(0o755)

    def flavor(*, legacy, nft, plain):
        (proc / "net" / "ip_tables_names").write_text("nat\n" if legacy else "")
        command("iptables", f"iptables v1.8.9 ({plain})\n")
        for name, rules in (("legacy", legacy), ("nft", nft)):
            command(f"iptables-{name}-restore", "")
            command(f"iptables-{name}-save", rules)
        return detect(proc)

    return flavor


@pytest.mark.parametrize(
    ("legacy", "nft", "plain", "wanted"),
    [
        ("", "", "nf_tables", Flavor.NFT),
        ("", "", "legacy", Flavor.LEGACY),
        ("", EMPTY, "nf_tables", Flavor.NFT),
        (EMPTY, EMPTY, "nf_tables", Flavor.NFT),
        (EMPTY, "", "nf_tables", Flavor.NFT),
        (EMPTY, EMPTY, "legacy", Flavor.LEGACY),
        (FIREWALL, EMPTY, "nf_tables", Flavor.LEGACY),
        (EMPTY, FIREWALL, "legacy", Flavor.NFT),
        (SERVICES, FIREWALL, "nf_tables", Flavor.LEGACY),
        (SERVICES, HINT, "legacy", Flavor.NFT),
    ],
)
def test_the_flavor_of_a_node(node, legacy, nft, plain, wanted):
    assert node(legacy=legacy, nft=nft, plain=plain) is wanted
