"""The ground under the packet tests is itself sound."""


def test_a_cable_carries_a_ping(spaces):
    left, right = spaces("left"), spaces("right")
    left.veth("eth0", right, "eth0")
    left.ip("addr", "add", "10.99.0.1/24", "dev", "eth0")
    right.ip("addr", "add", "10.99.0.2/24", "dev", "eth0")
    assert "1 received" in left.run("ping", "-c1", "-W2", "10.99.0.2")


def test_no_space_has_a_way_out(spaces):
    assert spaces("alone").ip("route", "show", "default") == ""
