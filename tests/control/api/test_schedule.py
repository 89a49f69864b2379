"""Schedules of CronJobs: upstream's grammar, and its times where cronsim has others."""

from datetime import UTC, datetime

import pytest

from control.api.schedule import ScheduleError, parse_schedule
from control.api.times import rfc3339, seconds_of

START = 1_800_000_000.0  # Friday, 15 January 2027, 08:00 UTC


def times(text: str, zone: str, since: str, number: int) -> list[str]:
    """The next times in UTC, as month-day hour:minute."""
    schedule, moment = parse_schedule(text, zone), seconds_of(since)
    found = []
    for _ in range(number):
        assert moment is not None
        moment = schedule.after(moment)
        found.append(datetime.fromtimestamp(moment or 0, UTC).strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("*/5 * * * *", "01-15 08:05"),
        ("@hourly", "01-15 09:00"),
        ("@every 1h30m", "01-15 09:30"),
        ("0 8 ? * *", "01-16 08:00"),
        ("0 8 * * SUN", "01-17 08:00"),
        ("5/20 8 * * *", "01-15 08:05"),
        ("0 0 1,,15 feb *", "02-01 00:00"),
        ("0 0 * * 1-3,5", "01-18 00:00"),
    ],
)
def test_schedules(text: str, after: str):
    assert times(text, "UTC", rfc3339(START), 1) == [after]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # Two days that are told: either of them. A star, and only that, leaves it to the other.
        ("0 0 13 * 5", ["01-22 00:00", "01-29 00:00", "02-05 00:00", "02-12 00:00", "02-13 00:00"]),
        ("0 0 */10 * 1", ["01-18 00:00", "01-21 00:00", "01-25 00:00", "01-31 00:00"]),
        ("0 0 */1 * 1", ["01-18 00:00", "01-25 00:00"]),
        ("0 0 29-31 2 1", ["02-01 00:00", "02-08 00:00"]),
    ],
)
def test_days_of_the_month_and_of_the_week(text: str, found: list[str]):
    assert times(text, "UTC", rfc3339(START), len(found)) == found


@pytest.mark.parametrize(
    ("text", "since", "found"),
    [
        # 02:30 is not there on 28 March, and comes twice on 31 October.
        ("30 2 * * *", "2027-03-27T12:00:00Z", ["03-29 00:30", "03-30 00:30"]),
        ("30 2 * * *", "2027-10-30T12:00:00Z", ["10-31 00:30", "10-31 01:30", "11-01 01:30"]),
        ("0 */2 * * *", "2027-03-28T00:30:00Z", ["03-28 02:00", "03-28 04:00"]),
    ],
)
def test_where_clocks_change(text: str, since: str, found: list[str]):
    assert times(text, "Europe/Berlin", since, len(found)) == found


def test_a_schedule_has_a_time_zone():
    assert times("0 12 * * *", "Asia/Kolkata", rfc3339(START), 1) == ["01-16 06:30"]


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 2,4 *", ", * * * *"])
def test_schedules_without_a_time(text: str):
    schedule = parse_schedule(text)
    assert schedule.after(START) is None
    assert schedule.last(START, START + 1e6) == (None, 0)


def test_the_last_of_many_times():
    minutes = parse_schedule("* * * * *")
    assert minutes.last(START, START + 179) == (START + 120, 2)
    assert minutes.last(START, START + 60 * 1000) == (START + 60 * 1000, 101)
    assert parse_schedule("@every 10s").last(START, START + 35) == (START + 30, 3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 0 L * *", "failed to parse int from L"),
        ("0 0 * * 7", "end of range (7) above maximum (6): 7"),
        ("0 0 * * 1#2", "failed to parse int from 1#2"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("@x", "unrecognized descriptor: @x"),
        ("@every x", "failed to parse duration @every x"),
        ("0 " * 1000, "must be no more than 1000 characters"),
    ],
)
def test_texts_that_are_no_schedule(text: str, why: str):
    with pytest.raises(ScheduleError) as caught:
        parse_schedule(text)
    assert str(caught.value) == why
