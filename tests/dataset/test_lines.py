"""Append-only files under failure: a full disk, a kill in the middle, odd dates; and appends that read the end only."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from flenlib.dataset import lines
from flenlib.dataset.journal import Decision, Journal
from flenlib.dataset.lines import Lines

MANY = [f"{number:03d}.png" for number in range(300)]


def limited(path, size, names):
    """Append a batch in a child process whose files may not grow beyond a size."""
    code = f"""
import resource
from flenlib.dataset.journal import Decision, Journal
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
try:
    Journal({str(path)!r}).extend([Decision(name, "reject") for name in {names!r}])
except OSError as error:
    print(error)
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("torn", [b"", b'{"filename": "Zo'])
def test_on_a_full_disk_a_batch_is_in_force_whole_or_not_at_all(tmp_path, torn):
    journal = Journal(tmp_path / "journal.jsonl")
    first = journal.append("000.png", "good")
    before = journal.path.read_bytes() + torn
    journal.path.write_bytes(before)
    said = limited(journal.path, len(before) + 5000, MANY)
    assert "journal.jsonl cannot be written (File too large): nothing of it was kept" in said
    assert journal.path.read_bytes() == before
    if torn:
        with pytest.warns(UserWarning, match="torn"):
            assert journal.decisions() == {"000.png": first}
    assert limited(journal.path, 10**6, MANY) == "" and len(Journal(journal.path).decisions()) == 300


def test_a_batch_cut_by_a_kill_is_not_in_force(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    first = journal.append("000.png", "good")
    whole = journal.path.read_bytes()
    journal.extend([Decision(name, "reject") for name in MANY])
    batch = journal.path.read_bytes()
    for cut in range(len(whole) + 1, len(batch) - 1, 7_001):
        journal.path.write_bytes(batch[:cut])
        with pytest.warns(UserWarning, match="torn"):
            assert Journal(journal.path).decisions() == {"000.png": first}
    Journal(journal.path).append("b.png", "good")
    assert Journal(journal.path).decisions().keys() == {"000.png", "b.png"}


def test_kill_9_leaves_whole_batches(tmp_path):
    path = tmp_path / "journal.jsonl"
    code = f"""
from flenlib.dataset.journal import Decision, Journal
names = {MANY!r}
for label in ("good", "reject") * 1000:
    Journal({str(path)!r}).extend([Decision(name, label) for name in names])
"""
    for wait in (0.02, 0.05, 0.11):
        before = path.stat().st_size if path.exists() else 0
        child = subprocess.Popen([sys.executable, "-c", code])
        while not path.exists() or path.stat().st_size == before:
            time.sleep(0.005)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
        found = {decision.label for decision in Journal(path).decisions().values()}
        assert len(found) == 1 and len(Journal(path).decisions()) == 300


@pytest.mark.parametrize(
    "when",
    ["9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59.999999-12:00", "2100-01-01T00:00:00",
     "0001-01-01T00:00:00+14:00", "yesterday", 5, None],
)  # fmt: skip
def test_an_odd_date_locks_nothing(tmp_path, when):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_text(json.dumps({"filename": "a.png", "label": "good", "when": when}) + "\n")
    now = datetime.now(UTC)
    said = journal.append("b.png", "good")
    assert abs((datetime.fromisoformat(said.when) - now).total_seconds()) < 60
    assert journal.decisions().keys() == {"a.png", "b.png"}


def test_an_append_reads_the_end_of_the_file_only(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"filename": "a.png", "label": "good", "when": "2026-01-01T00:00:00+00:00"}\n' * 50_000)
    read = []

    def counted(content):
        read.append(len(content))
        return split(content)

    split = lines._split
    monkeypatch.setattr(lines, "_split", counted)
    Journal(path).append("b.png", "good")
    assert sum(read) < 300_000 < path.stat().st_size


def test_a_last_line_longer_than_a_block_is_found(tmp_path):
    file = Lines(tmp_path / "a.jsonl")
    file.write([{"n": 1, "when": "2026-01-01T00:00:00+00:00"}])
    file.write([{"n": n, "when": "2026-01-02T00:00:00+00:00"} for n in range(20_000)])
    file.path.write_bytes(file.path.read_bytes() + b'{"n": 3, ')
    file.write([{"n": 4}])
    whole, torn = file.read()
    assert torn == b"" and [len(lines.parse(line, "")) for line in whole] == [1, 20_000, 0, 1]


def test_a_reader_that_follows_sees_each_line_once(tmp_path):
    file, writer = Lines(tmp_path / "a.jsonl"), Lines(tmp_path / "a.jsonl")
    assert file.follow() == (False, [], b"")
    writer.write([{"n": 1}])
    assert file.follow() == (True, [b'{"n": 1}'], b"") and file.follow() == (False, [], b"")
    writer.path.write_bytes(writer.path.read_bytes() + b'{"n": 2}')  # by hand, without its newline
    assert file.follow() == (False, [b'{"n": 2}'], b"")
    writer.write([{"n": 3}])
    assert file.follow() == (False, [b'{"n": 3}'], b"")
    writer.path.write_bytes(writer.path.read_bytes() + b'{"n"')
    assert file.follow() == (False, [], b'{"n"') == file.follow()
    writer.write([{"n": 4}])
    assert file.follow()[1] == [b'{"torn": "{\\"n\\""}', b'{"n": 4}']
    os.utime(file.path, ns=(1, 1))  # changed, and no longer: it is read anew
    anew, found, _ = file.follow()
    assert anew and len(found) == 5
    writer.path.unlink()
    assert file.follow() == (True, [], b"")
