"""What rules do to a packet, without a kernel: probabilities, conditions, what is unknown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from debug.ruleset import steps
from debug.ruleset.packet import Address, Device, State, make
from debug.ruleset.read.decode import step
from debug.ruleset.steps import AnyStep, Verdict
from debug.ruleset.stores import Contents
from debug.ruleset.tracking import begun
from debug.ruleset.traverse import Way, through_hook
from debug.ruleset.values import Base, Chain, Element, Hook, Rule, Store, Table
from proxy.linux.netlink import attribute, nested

TABLE = Table("ip", "t")
NUMBERS = Store(TABLE, "numbers", 4, is_map=True)
DROP, ACCEPT = steps.Immediate(Verdict("drop")), steps.Immediate(Verdict("accept"))


@dataclass
class Made:
    """Rules and elements by hand; implements Rules and Fib."""

    rules_of: dict[str, list[tuple[AnyStep, ...]]]
    base: Base = field(default_factory=lambda: Base(Hook.FORWARD, 0))
    elements: Sequence[Element] = ()

    def bases(self) -> Sequence[Chain]:
        return [Chain(TABLE, "base", base=self.base)]

    def rules(self, table: Table, chain: str) -> Sequence[Rule]:
        return [Rule(one, number) for number, one in enumerate(self.rules_of[chain], 1)]

    def store(self, table: Table, name: str) -> Store:
        return NUMBERS

    def element(self, store: Store, key: bytes) -> Element | None:
        return Contents(store, self.elements).find(key)

    def kind(self, address: Address, device: int | None) -> int:
        return 1

    def device(self, state: State, flags: int) -> Device | None:
        return None

    def own_address(self, device: Device, toward: Address) -> Address:
        raise AssertionError("nobody asked")

    def ways(self) -> list[Way]:
        state = begun(State(make("10.0.0.1", "10.0.0.2", destination_port=80)))
        found = through_hook(self, self, self.base.hook, state)
        assert sum(way.weight for way in found) == 1
        return found

    def verdicts(self) -> dict[str, Fraction]:
        return {way.verdict.code: way.weight for way in self.ways()}


def one_in(modulus: int, less_than: int) -> tuple[AnyStep, ...]:
    """``numgen random mod MODULUS < LESS``, as nft writes it."""
    number = less_than.to_bytes(4, "big")
    return (
        steps.Draw(0, modulus),
        steps.ByteOrder(0, 0, 4, 4),
        steps.Compare(0, 2, number),
    )


def test_random_rules_one_after_the_other_take_of_what_is_left() -> None:
    made = Made({"base": [(*one_in(3, 1), DROP), (*one_in(2, 1), ACCEPT), (DROP,)]})
    by_rule = {way.trail[-1].handle: way.weight for way in made.ways()}
    assert by_rule == {number: Fraction(1, 3) for number in (1, 2, 3)}


def test_a_map_of_verdicts_parts_the_way_by_its_elements() -> None:
    elements = [
        Element(number.to_bytes(4, "little"), value=Verdict("goto", f"c{number}"))
        for number in range(2)
    ]
    lookup = steps.Lookup("numbers", 0, decides=True)
    made = Made(
        {"base": [(steps.Draw(0, 4), lookup)], "c0": [(DROP,)], "c1": [(ACCEPT,)]},
        Base(Hook.FORWARD, 0, accepts=False),
        elements,
    )
    by_rule = {way.trail[-1].chain: way.weight for way in made.ways()}
    assert by_rule == {"c0": Fraction(1, 4), "c1": Fraction(1, 4), "base": Fraction(1, 2)}


def test_a_limit_is_a_condition_and_no_probability() -> None:
    limit = steps.Limit(10, 1, 5)
    above = [way for way in Made({"base": [(limit, ACCEPT), (DROP,)]}).ways() if way.conditions]
    assert [(way.verdict.code, way.weight) for way in above] == [("drop", 0)]


def test_a_limit_before_a_log_parts_nothing() -> None:
    made = Made({"base": [(steps.Limit(10, 1, 5), steps.Quiet("log")), (DROP,)]})
    assert [way.conditions for way in made.ways()] == [()]


def test_a_strange_expression_is_unknown_where_it_is_reached() -> None:
    made = Made({"base": [(*one_in(2, 1), ACCEPT), (steps.Strange("quota"), DROP)]})
    assert made.verdicts() == {"accept": Fraction(1, 2), "unknown": Fraction(1, 2)}
    (unknown,) = (way.verdict for way in made.ways() if way.verdict.code == "unknown")
    assert "quota" in unknown.chain


def test_chains_without_end_are_unknown() -> None:
    jump = steps.Immediate(Verdict("jump", "base"))
    assert set(Made({"base": [(jump,)]}).verdicts()) == {"unknown"}


def test_so_many_numbers_are_unknown() -> None:
    assert set(Made({"base": [(*one_in(1 << 31, 1), DROP)]}).verdicts()) == {"unknown"}


def test_what_cannot_be_decoded_is_strange() -> None:
    name = attribute(1, b"lookup\0")
    assert step(name + nested(2, [attribute(2, b"\0\0\0\1")])) == steps.Strange(
        "lookup (attribute 1)"
    )
    assert step(attribute(1, b"quota\0")) == steps.Strange("quota")


def test_ranges_and_the_element_of_all_others_are_found() -> None:
    store = Store(TABLE, "wide", 6, ranged=True, fields=(4, 2))
    first, last = bytes([10, 0, 0, 0, 0, 80]), bytes([10, 255, 255, 255, 0, 90])
    contents = Contents(store, [Element(first, last), Element(None, comment="others")])
    assert contents.find(bytes([10, 9, 9, 9, 0, 85])) == Element(first, last)
    assert contents.find(bytes([10, 9, 9, 9, 0, 91])) == Element(None, comment="others")


def test_a_counter_of_kube_proxys_matches_and_one_with_a_quota_may_not() -> None:
    for name, verdicts in (
        (b"ct_state_invalid_dropped_pkts", {"drop": 1}),
        (b"monthly", {"unknown": 1}),
    ):
        counter = steps.XtMatch("nfacct", 1, name.ljust(40, b"\0"))
        assert Made({"base": [(counter, DROP)]}).verdicts() == verdicts
