#!/usr/bin/env bash
# "0 0 */10 * 1" has other days with each Python library for cron; so has a time that a change of the clocks skips.
#
# One would guess: five fields mean the same days everywhere, so a Python library tells when a CronJob runs.
# What they do: with a step in the day of the month and a day of the week, cronsim wants both (a field that begins
#   with a star leaves the choice to the other one), croniter wants either, as Kubernetes' own library does, and
#   APScheduler wants both, and its day 1 is a Tuesday. Kubernetes leaves out 02:30 on the day on which 02:00 to
#   03:00 is skipped; cronsim and croniter give 03:00, APScheduler 02:30, which no clock shows.
# So: write days of the week as names, never together with a step in the day of the month; choose times that each
#   day has once, or UTC.
# Seen with: cronsim 2.8, croniter 7.0.0, APScheduler 3.11.3, tzdata 2026.6, November 2026.
source "$(dirname "$0")/common.bash"
python cronsim==2.8 croniter==7.0.0 APScheduler==3.11.3 tzdata==2026.6

seen <<'SCRIPT'
cat > times.py <<'PYTHON'
from datetime import datetime
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim

BERLIN = ZoneInfo("Europe/Berlin")
LIBRARIES = {
    "cronsim": lambda text, start: next(CronSim(text, start)),
    "croniter": lambda text, start: croniter(text, start).get_next(datetime),
    "APScheduler": lambda text, start: CronTrigger.from_crontab(text, BERLIN).get_next_fire_time(None, start),
}

for text, start in (
    ("0 0 */10 * 1", datetime(2027, 1, 15, 8, tzinfo=BERLIN)),
    ("0 0 13 * MON", datetime(2027, 1, 15, 8, tzinfo=BERLIN)),
    ("30 2 * * *", datetime(2027, 3, 27, 12, tzinfo=BERLIN)),
):
    print(text)
    for name, following in LIBRARIES.items():
        print(f"  {name}: {following(text, start):%a %d %B %H:%M %z}")
PYTHON
python times.py
SCRIPT
expect <<'TEXT'
0 0 */10 * 1
  cronsim: Mon 01 February 00:00 +0100
  croniter: Mon 18 January 00:00 +0100
  APScheduler: Tue 11 May 00:00 +0200
0 0 13 * MON
  cronsim: Mon 18 January 00:00 +0100
  croniter: Mon 18 January 00:00 +0100
  APScheduler: Mon 13 September 00:00 +0200
30 2 * * *
  cronsim: Sun 28 March 03:00 +0200
  croniter: Sun 28 March 03:00 +0200
  APScheduler: Sun 28 March 02:30 +0100
TEXT
