"""Data that must not be trained on: every refusal says file, column, expected and found, in the log's last line."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import jobs
from .conftest import Lake, Validate, customers, data_version, named, to_csv

pytestmark = pytest.mark.train_environment
ROWS = customers(40)


@dataclass(frozen=True)
class Listener:
    """A port that somebody else listens on."""

    socket: socket.socket

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.socket.getsockname()[1]}"

    def asked(self) -> bool:
        """Whether anybody has connected."""
        try:
            self.socket.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield Listener(listening)


def test_a_replaced_blob_is_named_with_both_etags(lake: Lake, validate: Validate) -> None:
    old = lake.put("day.csv", to_csv(ROWS))
    new = lake.put("day.csv", to_csv(ROWS[:20]))
    done = validate([old])
    assert done.returncode == 1
    assert f"{old['url']}: expected eTag {old['etag']}, found {new['etag']}: it was replaced" in jobs.last_line(done)


def test_a_deleted_blob_is_named(lake: Lake, validate: Validate) -> None:
    kept, gone = lake.put("kept.csv", to_csv(ROWS)), lake.put("gone.csv", to_csv(ROWS))
    lake.client.delete_blob("gone.csv")
    done = validate([kept, gone])
    assert done.returncode == 1
    assert f"{gone['url']}: expected eTag {gone['etag']}, found no blob" in jobs.last_line(done)


def test_another_version_than_the_one_asked_for_is_refused(lake: Lake, validate: Validate) -> None:
    entry = lake.put("day.csv", to_csv(ROWS))
    done = validate([entry], data_version="vffff")
    assert done.returncode == 1
    assert f"expected data version vffff, found {named([entry])}" in jobs.last_line(done)


def test_a_manifest_that_was_changed_no_longer_makes_its_versions_name(lake: Lake, validate: Validate, tmp_path: Path) -> None:
    entry = lake.put("day.csv", to_csv(ROWS))
    changed = [{**entry, "size": entry["size"] + 1}]
    done = validate([entry], data=data_version(tmp_path / "changed", changed, named([entry])))
    assert done.returncode == 1
    assert f"expected data version {named([entry])}, found {named(changed)}" in jobs.last_line(done)


ADDRESSES = """
import json, sys
from addresses import Account
from step import StepFailedError
answers = []
for account, url in json.loads(sys.argv[1]):
    try:
        answers.append(Account(account).holds(url))
    except StepFailedError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""
CLOUD, LAPTOP = "https://account.blob.core.windows.net", "https://127.0.0.1:10000/devstoreaccount1"
INSIDE = [
    (CLOUD, f"{CLOUD}/lake/day.csv"),
    (f"{CLOUD}/", f"{CLOUD}:443/lake/day.csv"),
    (CLOUD, "https://ACCOUNT.blob.core.windows.net/lake/..%252f%24%28x%29.csv"),
    (LAPTOP, f"{LAPTOP}/lake/day.csv"),
]
OUTSIDE = [
    (CLOUD, "http://account.blob.core.windows.net/lake/day.csv"),
    (CLOUD, "https://other.blob.core.windows.net/lake/day.csv"),
    (CLOUD, "https://account.blob.core.windows.net.example.com/lake/day.csv"),
    (CLOUD, "https://account.blob.core.windows.net:8443/lake/day.csv"),
    (CLOUD, "https://account.blob.core.windows.net:no/lake/day.csv"),
    (CLOUD, "https://account.blob.core.windows.net@example.com/lake/day.csv"),
    (CLOUD, "https://user:word@account.blob.core.windows.net/lake/day.csv"),
    (CLOUD, "https://example.com\\@account.blob.core.windows.net/lake/day.csv"),
    (CLOUD, "https://account.blob.core.windows.net\t/lake/day.csv"),
    (CLOUD, f"{CLOUD}/lake/day.csv?snapshot=2026-01-01"),
    (CLOUD, f"{CLOUD}/lake/day.csv#part"),
    (CLOUD, CLOUD),
    (LAPTOP, "https://127.0.0.1:10001/devstoreaccount1/lake/day.csv"),
    (LAPTOP, "https://127.0.0.1:10000/devstoreaccount12/lake/day.csv"),
    (LAPTOP, f"{LAPTOP}/../other/lake/day.csv"),
    (LAPTOP, f"{LAPTOP}/%2e%2e/other/lake/day.csv"),
    (LAPTOP, f"{LAPTOP}/x/..%2f..%2fother/day.csv"),
]


def test_only_a_plain_https_url_below_the_account_is_in_the_account() -> None:
    answers = json.loads(jobs.script(ADDRESSES, json.dumps(INSIDE + OUTSIDE)))
    wrong = [pair for pair, answer in zip(INSIDE + OUTSIDE, answers, strict=True) if answer is not (pair in INSIDE)]
    assert wrong == []


def test_an_account_without_tls_is_refused() -> None:
    (answer,) = json.loads(jobs.script(ADDRESSES, json.dumps([("http://account.blob.core.windows.net", CLOUD)])))
    assert answer.startswith("data_account_url: expected an https URL")


def test_the_jobs_token_is_sent_to_no_other_account(validate: Validate, listener: Listener) -> None:
    done = validate([{"url": f"{listener.url}/devstoreaccount1/lake/day.csv", "etag": "0x1", "size": 1}])
    assert done.returncode == 1
    assert "(the input data_account_url), found" in jobs.last_line(done)
    assert listener.url in jobs.last_line(done)
    assert not listener.asked()


def test_a_folder_without_a_manifest_says_what_it_found(tmp_path: Path) -> None:
    (data_version(tmp_path / "data", []) / "manifest.json").unlink()
    values = {"data": tmp_path / "data", "data_version": "v1", "target_column": "churn", "positive_value": "Yes"}
    values["data_account_url"] = CLOUD
    done = jobs.run("validate", {**values, "validated": tmp_path / "out"}, tmp_path)
    assert done.returncode == 1
    assert "no manifest.json (found: MLTable)" in jobs.last_line(done)


def test_a_hostile_blob_name_stays_in_the_output_folder(lake: Lake, validate: Validate, tmp_path: Path) -> None:
    done = validate([lake.put("x/..%2f..%2f$(touch owned);day.csv", to_csv(ROWS))])
    assert done.returncode == 0, done.stdout
    (only,) = (tmp_path / "validated/files").iterdir()
    assert only.name.startswith("00000-")
    assert not set(only.name) & set("/$(); %")


CHECK = """
import json, sys
from pathlib import Path
from checks import check
files = [(path.name, path) for path in sorted(Path(sys.argv[1]).iterdir())]
print(json.dumps([check(files, target, positive, ids).problems for target, positive, ids in json.loads(sys.argv[2])]))
"""


def problems(
    folder: Path, files: dict[str, bytes], target: str = "churn", positive: str = "Yes", ids: tuple[str, ...] = ()
) -> list[str]:
    """What the checks say about files, without fetching them."""
    folder = folder / "files"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return json.loads(jobs.script(CHECK, folder, json.dumps([["churn", "Yes", list(ids)]])))[0]


def changed(**values: str) -> bytes:
    return to_csv([{**row, **values} for row in ROWS])


GOOD = to_csv(ROWS)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.csv": b""}, "a.csv: the file is empty (0 bytes)"),
        ({"a.csv": GOOD.splitlines(keepends=True)[0]}, "a.csv: expected rows, found only a header"),
        ({"a.txt": GOOD}, "a.txt: expected a file that ends in .csv or .parquet, found 'a.txt'"),
        ({"a.parquet": b"PAR1 and no more"}, "a.parquet: cannot be read as .parquet: "),
        ({"a.csv": b"x,churn\n1,Yes\n2,No,3\n"}, "a.csv: cannot be read as .csv: "),
        ({"a.csv": b"x,x,churn\n1,2,Yes\n3,4,No\n"}, "a.csv: column x: expected once, found 2 times"),
        ({"a.csv": GOOD, "b.csv": to_csv([{**row, "new": 1} for row in ROWS])}, "b.csv: column new: not expected (not in a.csv)"),
        ({"a.csv": GOOD, "b.csv": b"customer,churn\nc1,Yes\n"}, "b.csv: column tenure: expected (as in a.csv), found none"),
        (
            {"a.csv": GOOD, "b.csv": changed(tenure="many")},
            "b.csv: column tenure: expected numeric (as in a.csv), found categorical 'many'",
        ),
        ({"a.csv": changed(charge="1e39")}, "a.csv: column charge: expected finite numbers below 3.4e38, found 1e+39"),
        ({"a.csv": changed(churn="Yes")}, "column churn: expected at least two classes, found only 'Yes'"),
        ({"a.csv": changed(churn="no")}, "column churn: expected the positive value 'Yes' in some row, found 'no'"),
        ({"a.csv": b"x,late\n1,Yes\n2,No\n"}, "a.csv: column churn: expected (target column), found only x, late"),
    ],
)
def test_a_file_that_cannot_be_trained_on_is_refused_by_name(tmp_path: Path, files: dict[str, bytes], expected: str) -> None:
    found = problems(tmp_path, files)
    assert any(sentence.startswith(expected) for sentence in found), found


def test_a_missing_id_column_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, {"a.csv": GOOD}, ids=("customer", "account"))
    assert found == [f"a.csv: column account: expected (id column), found only {', '.join(ROWS[0])}"]


def test_every_problem_is_printed_and_the_first_ends_the_log(lake: Lake, validate: Validate) -> None:
    done = validate([lake.put("a.csv", GOOD), lake.put("b.csv", b"")], target_column="gone")
    assert done.returncode == 1
    assert "b.csv: the file is empty (0 bytes) (and 1 more, see above)" in jobs.last_line(done)
    assert "column gone: expected (target column)" in done.stdout


PARQUET = """
import sys
import pyarrow.csv, pyarrow.parquet
pyarrow.parquet.write_table(pyarrow.csv.read_csv(sys.argv[1]), sys.argv[2])
"""


def test_parquet_and_csv_of_the_same_columns_go_together(tmp_path: Path) -> None:
    (tmp_path / "raw.csv").write_bytes(GOOD)
    jobs.script(PARQUET, tmp_path / "raw.csv", tmp_path / "b.parquet")
    assert problems(tmp_path, {"a.csv": GOOD, "b.parquet": (tmp_path / "b.parquet").read_bytes()}, ids=("customer",)) == []


TEXTS = """
import json
import pyarrow as pa
from tables import labels, texts
columns = [pa.chunked_array([values]) for values in ([1, 2, None], [1.0, 0.1, None], [True, False, None], ["1", "x", None])]
known = [labels(columns[1], "1").tolist()[:2], labels(columns[2], "True").tolist()[:2]]
print(json.dumps([texts(column) for column in columns] + known))
"""


def test_targets_and_ids_are_compared_as_text_whatever_their_type() -> None:
    found = json.loads(jobs.script(TEXTS))
    assert found[:4] == [["1", "2", None], ["1", "0.1", None], ["true", "false", None], ["1", "x", None]]
    assert found[4:] == [[1.0, 0.0], [1.0, 0.0]]
