"""Large transactions and large rows: held within `memory`, spilled compressed, and nothing of it left behind."""
import os
import threading
from pathlib import Path

import pytest

from harness.poll import poll_until

MIB = 1 << 20
STREAMED = {"logical_decoding_work_mem": "64kB"}


def peak_rss(process):
    """Bytes, from the kernel: no sample misses it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def spill_files(process, folder):
    """{file descriptor: bytes on disk} of the nameless files of a running process in a folder."""
    found = {}
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            if str(entry.readlink()).startswith(str(folder)):
                found[entry.name] = os.stat(entry).st_blocks * 512
        except OSError:
            continue
    return found


class SpillWatch(threading.Thread):
    """The most bytes on disk, and the most files, that were seen at one time."""

    def __init__(self, process, folder):
        super().__init__(daemon=True)
        self.process, self.folder = process, folder
        self.most_bytes = self.most_files = 0
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.05):
            try:
                files = spill_files(self.process, self.folder)
            except OSError:
                return
            self.most_bytes = max(self.most_bytes, sum(files.values()))
            self.most_files = max(self.most_files, len(files))

    def stop(self):
        self.ended.set()
        self.join(10)


def job_of(pair, **config):
    """A running job whose spill folder is known."""
    spill = pair.directory / "spill"
    return pair.running_job(spill={"dir": str(spill)}, **config), spill


@pytest.mark.deadline(400)
def test_one_transaction_of_a_million_rows_is_killed_half_way_and_begins_again(make_pair):
    """F51: 64 MiB of memory."""
    pair = make_pair(source=STREAMED)
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    job, spill = job_of(pair, memory="64MiB")
    watch = SpillWatch(job.process, spill)
    session = pair.source.connect(autocommit=False)
    session.cursor().execute("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 1000000) i")
    half = pair.source.one("SELECT pg_relation_size('t') / 2")
    poll_until(lambda: pair.target.one("SELECT pg_relation_size('t')") > half, "half of it is applied", 120)
    watch.stop()
    assert watch.most_bytes > 5 * MIB, "what is not applied yet was spilled"
    job.process.kill9()
    session.commit()
    session.close()
    assert pair.target.one("SELECT count(*) FROM t") == 0
    assert list(spill.iterdir()) == [], "a killed process leaves no file"
    job.start()
    poll_until(lambda: pair.target.one("SELECT count(*) FROM t") == 1000000, "it arrives", 200)
    peak = peak_rss(job.process)
    job.drain(pair.source)
    pair.check_equal()
    assert peak < (64 + 24) * MIB, f"{peak / MIB:.0f} MiB"
    assert spill_files(job.process, spill) == {}, "the spill is given back"


@pytest.mark.deadline(300)
def test_a_hundred_transactions_open_at_once_keep_to_the_memory(make_pair):
    """F48: interleaved and streamed; one is rolled back, one has a savepoint that is; killed before their ends."""
    pair = make_pair(source=STREAMED | {"max_connections": 140})
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    job, spill = job_of(pair, memory="64MiB")
    sessions = [pair.source.connect(autocommit=False) for _ in range(100)]
    watch = SpillWatch(job.process, spill)
    for part in range(4):
        for number, session in enumerate(sessions):
            first = number * 10000 + part * 1000
            session.cursor().execute("INSERT INTO t SELECT i, repeat(md5(i::text), 4)"
                                     " FROM generate_series(%s, %s) i", (first, first + 999))
    sessions[1].cursor().execute("SAVEPOINT s; UPDATE t SET v = 'bad' WHERE id BETWEEN 10000 AND 19999;"
                                 " ROLLBACK TO s; INSERT INTO t VALUES (19999, 'kept')")
    poll_until(lambda: len(spill_files(job.process, spill)) > 20, "many are spilled", 60)
    watch.stop()
    peaks = [peak_rss(job.process)]
    job.process.kill9()
    job.start()
    job.wait_for("catching-up")
    sessions[50].rollback()
    for number in (*range(99, 50, -1), *range(50)):
        sessions[number].commit()
    for session in sessions:
        session.close()
    poll_until(lambda: pair.target.one("SELECT count(*) FROM t") == 99 * 4000 + 1, "they arrive", 120)
    peaks.append(peak_rss(job.process))
    job.drain(pair.source)
    pair.check_equal()
    assert max(peaks) < (64 + 24) * MIB, [f"{peak / MIB:.0f} MiB" for peak in peaks]
    assert spill_files(job.process, spill) == {}


ROW = 300 * MIB
MOST = 600 * 1000 * 1000  # a bytea of this size is 1.2 GB in text form: more than a server can write into one message


@pytest.mark.deadline(300)
def test_value_of_300_mb_passes_in_load_and_in_stream(make_pair):
    """F72, B5: a row is held whole by libpq and once more by us; nothing else grows with it."""
    pair = make_pair(source={"shared_buffers": "128MB"}, target={"shared_buffers": "128MB"})
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL;"
                    f" INSERT INTO t VALUES (1, repeat('0123456789abcdef', {ROW // 16}))")
    job, spill = job_of(pair, memory="64MiB")
    load = peak_rss(job.process)
    job.process.terminate()
    job.start()
    job.wait_for("running")
    pair.source.sql(f"INSERT INTO t VALUES (2, repeat('fedcba9876543210', {ROW // 16}))")
    poll_until(lambda: pair.target.one("SELECT count(*) FROM t") == 2, "it arrives", 120)
    stream = peak_rss(job.process)
    print(f"peaks: load {load / MIB:.0f} MiB, stream {stream / MIB:.0f} MiB")
    assert pair.source.sql("SELECT id, md5(v) FROM t") == pair.target.sql("SELECT id, md5(v) FROM t ORDER BY id")
    assert load < 64 * MIB + 2 * ROW + 24 * MIB, f"load: {load / MIB:.0f} MiB"
    assert stream < 64 * MIB + 3 * ROW + 24 * MIB, f"stream: {stream / MIB:.0f} MiB"


@pytest.mark.deadline(200)
def test_value_whose_text_is_beyond_one_gigabyte_ends_with_a_sentence(make_pair):
    """F77: the server cannot send it, however often it is asked: the run ends and says behind which position it stands.
    (An interval has the stream in text: in binary that value has half the size.)"""
    pair = make_pair()
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, b bytea, i interval); ALTER TABLE t ALTER b SET STORAGE EXTERNAL")
    job, _ = job_of(pair)
    pair.source.sql("INSERT INTO t VALUES (1, convert_to(repeat('0123456789abcdef', %s), 'UTF8'))", (MOST // 16,))
    assert job.process.wait(100) == 5, job.process.err[-2000:]
    last = job.process.err.rstrip().splitlines()[-2:]
    assert "behind " in last[0] and "1 GB" in last[0] and "hint:" in last[1], last
    assert pair.target.sql("SELECT FROM t") == []
