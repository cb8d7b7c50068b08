"""When a cron schedule was due last, as Kubernetes reads schedules: five fields, names, steps, @daily. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
NOTHING: Mapping[str, int] = {}
FIELDS = ((0, 59, NOTHING), (0, 23, NOTHING), (1, 31, NOTHING), (1, 12, MONTHS), (0, 7, WEEKDAYS))
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
DAYS_BACK = 366 * 4 + 1  # 29 February


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which minutes are due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool  # both kinds of day are limited: one of them is enough

    def is_day(self, day: datetime) -> bool:
        """Whether anything is due on this date."""
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (of_month or of_week if self.either_day else of_month and of_week)


def parse(text: str) -> Schedule | None:
    """The schedule; None if it is none, or one of another kind (@every 1h)."""
    words = MACROS.get(text.strip(), text).split()
    if len(words) != len(FIELDS):
        return None
    try:
        minutes, hours, days, months, weekdays = (
            parse_field(word.lower(), *field) for word, field in zip(words, FIELDS, strict=True)
        )
    except (ValueError, KeyError):
        return None
    either = not is_any_day(words[2]) and not is_any_day(words[4])
    return Schedule(minutes, hours, days, months, frozenset(each % 7 for each in weekdays), either)


def is_any_day(text: str) -> bool:
    """Whether a field says nothing of days: a star among its parts, which is none with a step above 1 (*/2)."""
    parts = (part.partition("/") for part in text.split(","))
    return any(span in ("*", "?") and int(step or 1) == 1 for span, _, step in parts)


def parse_field(text: str, least: int, most: int, names: Mapping[str, int]) -> frozenset[int]:
    """The numbers of 1,5-10/2,mon or *."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if first in ("*", "?"):
            low, high = least, most
        else:
            low = names[first] if first in names else int(first)
            high = (names[last] if last in names else int(last)) if last else (most if step else low)
        if not least <= low <= high <= most:
            raise ValueError(part)
        found |= set(range(low, high + 1, int(step or 1)))
    return frozenset(found)


def zone_of(name: str) -> tzinfo | None:
    """The time zone; None if nobody knows it here."""
    try:
        return UTC if name in ("UTC", "Etc/UTC") else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def last_due(text: str, zone_name: str, until: datetime) -> datetime | None:
    """The last moment up to `until` at which the schedule was due; None if that cannot be told."""
    schedule, zone = parse(text), zone_of(zone_name)
    if schedule is None or zone is None or not schedule.minutes:
        return None
    local = until.astimezone(zone)
    for back in range(DAYS_BACK):
        day = (local - timedelta(days=back)).replace(hour=0, minute=0, second=0, microsecond=0)
        if not schedule.is_day(day):
            continue
        for hour in sorted(schedule.hours, reverse=True):
            for minute in sorted(schedule.minutes, reverse=True):
                moment = day.replace(hour=hour, minute=minute).astimezone(UTC)
                here = moment.astimezone(zone)
                is_skipped = (here.hour, here.minute) != (hour, minute)  # clocks went forward over it
                if moment <= until and not is_skipped:
                    return moment
    return None
