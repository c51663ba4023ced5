"""A file of contacts for the bench: the same for a number of rows, a few of them wrong and a few repeated."""

from collections.abc import Iterator
from pathlib import Path

HEADER = "external_id,email,phone,time_zone,locale,consent.email,consent.sms,first_name,last_name,city,plan,orders\n"
_ZONES = ("Europe/Vienna", "America/New_York", "Asia/Tokyo", "Australia/Sydney", "Africa/Lagos")
_LOCALES = ("de-AT", "en-US", "ja-JP", "en-AU", "en-NG")
_COUNTRIES = ("+43664", "+1415", "+8190", "+61412", "+234803")
_DOMAINS = 500
WRONG_EVERY = 1_000
REPEATED_EVERY = 200


def write_file(path: Path, rows: int) -> None:
    """Write it, row by row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(HEADER)
        file.writelines(_rows(rows))


def repeated(rows: int) -> int:
    """How many of its rows name somebody again."""
    return sum(1 for number in range(rows) if _is_repeated(number))


def wrong(rows: int) -> int:
    """How many of its rows must be refused."""
    return sum(1 for number in range(rows) if number % WRONG_EVERY == WRONG_EVERY - 1)


def _is_repeated(number: int) -> bool:
    return number % REPEATED_EVERY == REPEATED_EVERY - 2


def _rows(rows: int) -> Iterator[str]:
    for number in range(rows):
        # Somebody from the file's first half or so, many batches earlier.
        who = number // 2 - number // 2 % REPEATED_EVERY if _is_repeated(number) else number
        at = who % len(_ZONES)
        email = "no address" if number % WRONG_EVERY == WRONG_EVERY - 1 else f"person{who}@d{who % _DOMAINS}.example"
        yield (
            f"customer-{who},{email},{_COUNTRIES[at]}{who % 10_000_000:07},{_ZONES[at]},{_LOCALES[at]},"
            f'yes,no,First {who},"Last, {number}",Wien,gold,{number % 50}\n'
        )
