"""What the source may forget: it moves while nothing of ours is written, and never feeds itself."""
import time

import pytest

from harness.poll import poll_until
from harness.server import lsn_number

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')"
FILL = ("CREATE TABLE IF NOT EXISTS filler (v text);"
        " INSERT INTO filler SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) i")


@pytest.fixture
def busy(make_pair):
    """A pair with private servers, and another database on the source that fills the WAL (20 MB at a time)."""
    pair = make_pair()
    pair.source.sql(TABLE)
    pair.busy = pair.source.server.database("busy")
    return pair


def test_captured_database_idle_and_another_one_busy(busy):
    """F33, F34, L16, L17: the beat moves the slot, and the server drops its WAL."""
    job = busy.running_job()
    for _ in range(3):
        busy.busy.sql(FILL)
        end = busy.source.lsn()
        poll_until(lambda: busy.source.slot(job.slot)[0] >= end, "the confirmed position follows", 20)

    def forgotten():
        busy.source.sql("CHECKPOINT")
        return busy.source.slot(job.slot)[1] >= end - (16 << 20)
    poll_until(forgotten, "restart_lsn follows: WAL can be removed", 60, every=0.5)


def test_trap_A9_and_B11_a_keepalive_position_is_confirmed_and_never_begun_at(busy):
    """The stream begins at what is applied, below the slot: what another timeline wrote between would be skipped."""
    job = busy.job(source={"heartbeat": 0})
    job.start()
    job.wait_for("catching-up")
    busy.busy.sql(FILL)
    busy.busy.sql(FILL)
    end = busy.source.lsn()
    poll_until(lambda: busy.source.slot(job.slot)[0] >= end - (17 << 20), "idle WAL is confirmed", 45, every=0.2)
    confirmed = busy.source.slot(job.slot)[0]
    assert job.process.terminate() == 0
    applied = job.status()["applied_lsn"]
    assert lsn_number(applied) < confirmed
    job.start()  # the slot stands beyond what was ever applied: the bound knows it
    job.wait_for("catching-up")
    poll_until(lambda: f"streaming from {applied} " in job.process.err, "it begins at what is applied")
    assert busy.source.slot(job.slot)[0] >= confirmed
    busy.source.sql("UPDATE t SET v = 'after'")
    busy.wait_equal()


def test_trap_B11_idle_confirmation_does_not_feed_itself(busy):
    """Both databases idle: the destination's WAL must stand still."""
    job = busy.job(source={"heartbeat": 0})
    job.start()
    job.wait_for("catching-up")
    busy.source.sql("UPDATE t SET v = 'y'")
    busy.wait_equal()
    time.sleep(2)  # the last progress, deletions of old progress rows
    before = busy.target.lsn()
    time.sleep(12)  # longer than the interval of idle confirmation
    assert busy.target.lsn() - before < 4096, "writes at an idle destination"


def test_source_and_destination_on_one_server(make_pair):
    """B11: what we write at the destination is WAL of the source, too; the slot must come to rest."""
    pair = make_pair()
    pair.source.sql(TABLE)
    target = pair.source.server.database("same_server")
    job = pair.job(target_dsn=target.dsn(), source={"heartbeat": 0})
    job.start()
    job.wait_for("catching-up")
    pair.source.sql("UPDATE t SET v = 'z'")
    poll_until(lambda: target.sql("SELECT v FROM t") == [("z",)], "the change arrives")
    time.sleep(2)
    before = pair.source.lsn()
    time.sleep(12)
    assert pair.source.lsn() - before < 8192


def test_confirmed_is_never_beyond_what_the_destination_has(make_pair):
    """I6 with a destination that loses what it did not flush (B2, F80): the watcher looks all the time."""
    pair = make_pair(target={"fsync": "on", "wal_writer_delay": "10s", "synchronous_commit": "off"})
    bank = pair.bank(pause=0.005).start()
    job = pair.job()
    watcher = pair.watcher(bank, job)
    job.start()
    job.wait_for("catching-up")
    watcher.watch()
    for _ in range(4):
        before = bank.transactions()
        poll_until(lambda: bank.transactions() > before + 150, "traffic")
        pair.target.server.kill9()
        pair.target.server.start()
        bank.check_prefix(pair.target)
    bank.pause_writers()
    pair.wait_equal()
    assert watcher.looks > 20
    watcher.check()
