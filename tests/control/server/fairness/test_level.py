"""Who gets a seat: flows take turns, levels lend and borrow, queues are bounded. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.server.fairness.level import LevelSpec, Room, Ticket, hand_of, level_of

QUEUED = {"queues": 64, "hand": 6, "length": 50}


def room(total: int, *specs: LevelSpec) -> Room:
    made = Room(total)
    made.set(specs)
    return made


def spec(name: str, shares: int, **more: int) -> LevelSpec:
    return LevelSpec(name, f"uid-{name}", shares=shares, **(QUEUED | more))


def wait(made: Room, level: str, flow: str, gone: list[str], seats: int = 1) -> bool:
    """Begin a request of a flow, or let it wait; return False if there is no place to wait."""
    if made.begin(made.levels[level], seats):
        gone.append(flow)
        return True
    return made.levels[level].enqueue(flow, Ticket(seats, lambda: gone.append(flow)))


def test_a_greedy_flow_waits_behind_its_own_requests() -> None:
    made, gone = room(2, spec("a", 1)), []
    for _ in range(100):
        assert wait(made, "a", "greedy", gone)
    for _ in range(3):
        assert wait(made, "a", "modest", gone)
    for _ in range(50):
        made.end(made.levels["a"], 1)
    assert gone.count("modest") == 3
    # Six queues of the greedy flow take turns with the one, or more, of the modest one.
    last = len(gone) - 1 - gone[::-1].index("modest")
    assert last < 2 + 3 * 7 + 1


def test_a_flow_with_large_requests_gets_fewer_of_them() -> None:
    made, gone = room(10, spec("a", 1)), []
    assert wait(made, "a", "first", gone, 10)
    for _ in range(40):
        wait(made, "a", "large", gone, 10)
        wait(made, "a", "small", gone, 1)
    made.end(made.levels["a"], 10)
    for _ in range(10):
        level = made.levels["a"]
        made.end(level, 10 if gone[-1] == "large" else 1)
    assert gone.count("small") > gone.count("large")


def test_a_full_queue_refuses() -> None:
    made, gone = room(1, spec("a", 1, length=2, hand=1)), []
    assert [wait(made, "a", "one", gone) for _ in range(4)] == [True, True, True, False]


def test_without_queues_it_refuses_at_once() -> None:
    made, gone = room(1, spec("a", 1, queues=0)), []
    assert [wait(made, "a", "one", gone) for _ in range(2)] == [True, False]


def test_a_level_borrows_what_others_lend_and_no_more() -> None:
    lender = spec("lender", 50, lendable=40)  # of its 5 seats 2
    made, gone = room(10, lender, spec("a", 50)), []
    for _ in range(9):
        wait(made, "a", "x", gone)
    assert made.levels["a"].used == 7
    for _ in range(5):
        wait(made, "lender", "y", gone)
    assert made.levels["lender"].used == 5, "its own seats are its own, also if some are lent"
    made.end(made.levels["a"], 1)
    assert made.levels["a"].used == 6, "nothing is lent by who needs it"


def test_a_limit_of_borrowing() -> None:
    made, gone = room(10, spec("lender", 50, lendable=100), spec("a", 50, borrowing=20)), []
    for _ in range(9):
        wait(made, "a", "x", gone)
    assert made.levels["a"].used == 6


def test_a_level_without_seats_still_answers_one_by_one() -> None:
    made, gone = room(10, spec("none", 0), spec("a", 10)), []
    for _ in range(2):
        wait(made, "none", "x", gone)
    assert gone == ["x"]
    made.end(made.levels["none"], 1)
    assert gone == ["x", "x"]


def test_who_waits_at_a_level_that_goes_goes_on() -> None:
    made, gone = room(1, spec("a", 1)), []
    for _ in range(3):
        wait(made, "a", "x", gone)
    made.set([spec("b", 1)])
    assert gone == ["x"] * 3


@given(st.text(max_size=30), st.integers(1, 200), st.integers(1, 20))
def test_a_hand_has_different_queues(flow: str, queues: int, size: int) -> None:
    hand = hand_of(flow, queues, min(size, queues))
    assert len({*hand}) == len(hand) == min(size, queues)
    assert all(0 <= queue < queues for queue in hand)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans())))
def test_seats_never_exceed_the_total_and_none_is_lost(steps) -> None:
    made = room(6, *(spec(name, 1, lendable=50) for name in "abc"))
    gone: list[str] = []
    for name, flow, ends in steps:
        if ends and made.levels[name].used:
            made.end(made.levels[name], 1)
        else:
            wait(made, name, flow, gone)
        assert sum(level.used for level in made.levels.values()) <= 6 + 3
        for level in made.levels.values():
            assert not level.waiting or level.used >= 1
    while any(level.used for level in made.levels.values()):
        made.end(next(level for level in made.levels.values() if level.used), 1)
    assert not any(level.waiting for level in made.levels.values())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"type": "Exempt"}, LevelSpec("n", "u", exempt=True)),
        ({"type": "Limited", "limited": {}}, LevelSpec("n", "u", shares=30)),
        (
            {
                "type": "Limited",
                "limited": {
                    "nominalConcurrencyShares": -4,
                    "lendablePercent": 1000,
                    "borrowingLimitPercent": -1,
                    "limitResponse": {
                        "type": "Queue",
                        "queuing": {"queues": 1 << 40, "handSize": 0, "queueLengthLimit": 1 << 40},
                    },
                },
            },
            LevelSpec("n", "u", False, 0, 100, 0, 1024, 1, 10_000),
        ),
    ],
)
def test_whatever_is_written_is_a_level(spec, said) -> None:
    assert level_of({"metadata": {"name": "n", "uid": "u"}, "spec": spec}) == said
