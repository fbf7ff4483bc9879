"""Ends: of the servers, and of walferry, also while nothing can be written."""
import signal
import subprocess
import time

import pytest

from harness.poll import poll_until, poll_while
from harness.server import lsn_number

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE plain (n int); ALTER TABLE plain REPLICA IDENTITY FULL;
INSERT INTO t VALUES (1, 'x')"""


def blocked(pair):
    """A session at the destination that lets nobody write to t; changes are outstanding from now on."""
    holder = pair.target.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    pair.source.sql("UPDATE t SET v = v || 'x'; INSERT INTO plain VALUES (1)")
    poll_until(lambda: pair.target.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), "the sink is blocked")
    return holder


def reads_no_more(job):
    before = job.status()["totals"]["bytes"]
    time.sleep(0.5)
    return before > 1 << 20 and job.status()["totals"]["bytes"] == before


@pytest.mark.parametrize("sink", ["free", "blocked", "full"])
def test_trap_A13_source_stops_fast_within_ten_seconds(make_pair, sink):
    """F13: a client that answers every keepalive but cannot confirm would keep the server from stopping. full: nothing
    is read any more either, because the memory is used up."""
    pair = make_pair()
    pair.source.sql(TABLES)
    pair.source.sql("CREATE TABLE bulk (id int PRIMARY KEY, v text)")
    bank = pair.bank().start()
    job = pair.running_job(memory="16MiB")
    holder = blocked(pair) if sink != "free" else None
    if sink == "full":
        pair.source.sql("INSERT INTO bulk SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, 20000) i")
        poll_until(lambda: reads_no_more(job), "nothing more is read")
    try:
        seconds = pair.source.server.stop("fast", timeout=20)
    except subprocess.TimeoutExpired:
        pytest.fail("the source could not stop in 20 s")
    assert seconds < 10
    assert job.process.alive(), job.process.err
    pair.source.server.start()
    if holder:
        holder.rollback()
        holder.close()
    job.wait_for("running")
    bank.pause_writers()
    pair.wait_equal()


def replayed_nothing(pair, job):
    """What the server would send again, it would send from the slot's position on."""
    status = job.status()
    confirmed = pair.source.slot(job.slot)[0]
    assert status["state"] == "stopped"
    assert confirmed >= lsn_number(status["applied_lsn"]), "applied transactions would be sent again"


@pytest.mark.asan
def test_sigterm_under_load_ends_with_0_and_the_next_start_replays_nothing(pair):
    """F03."""
    bank = pair.bank().start()
    job = pair.running_job()
    for _ in range(2):
        before = bank.transactions()
        poll_until(lambda: bank.transactions() > before + 100, "traffic")
        assert job.process.terminate(10) == 0
        replayed_nothing(pair, job)
        bank.check_prefix(pair.target)
        job.start()
        job.wait_for("running")
    bank.pause_writers()
    pair.wait_equal()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_sigterm_with_a_blocked_sink_ends_with_0_and_confirms_nothing(pair, number):
    """F03."""
    pair.source.sql(TABLES)
    job = pair.running_job()
    holder = blocked(pair)
    outstanding = pair.source.lsn()
    job.process.signal(number)
    assert job.process.wait(10) == 0
    assert pair.source.slot(job.slot)[0] < outstanding
    holder.rollback()
    holder.close()
    job.start()
    job.wait_for("running")
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM plain") == 1


def test_second_interrupt_ends_at_once(pair):
    pair.source.sql(TABLES)
    job = pair.running_job()
    holder = blocked(pair)
    job.process.signal(signal.SIGINT)
    time.sleep(0.3)  # the second one is another keypress, not the same
    begin = time.monotonic()
    job.process.signal(signal.SIGINT)
    job.process.wait(5)
    assert time.monotonic() - begin < 2
    holder.rollback()
    holder.close()
    job.start()
    job.wait_for("running")
    pair.wait_equal()


def test_killed_source_takes_its_slot_back_and_nothing_is_applied_twice(make_pair):
    """F14."""
    pair = make_pair(source={"checkpoint_timeout": "1h"})
    pair.source.sql(TABLES)
    job = pair.running_job()
    pair.source.sql("CHECKPOINT")
    for n in range(50):
        pair.source.sql("INSERT INTO plain VALUES (%s)", (n,))
    job.drain(pair.source)
    end = pair.source.lsn()
    poll_until(lambda: pair.source.slot(job.slot)[0] >= end, "the position is confirmed")
    job.process.kill9()
    pair.source.server.kill9()
    pair.source.server.start()
    assert pair.source.slot(job.slot)[0] < end, "the slot's position went back: the server sends again"
    job.start()
    job.drain(pair.source)
    pair.check_equal()
    assert pair.target.one("SELECT count(*) FROM plain") == 50


def test_killed_source_while_running(make_pair):
    """F14 with the same process on our side."""
    pair = make_pair()
    pair.source.sql(TABLES)
    bank = pair.bank().start()
    job = pair.running_job()
    for end in ("kill9", "immediate"):
        pair.source.sql("INSERT INTO plain SELECT generate_series(1, 100)")
        pair.source.server.kill9() if end == "kill9" else pair.source.server.stop(end)
        pair.source.server.start()
    before = bank.transactions()
    poll_until(lambda: bank.transactions() > before + 50, "writers go on")
    bank.pause_writers()
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM plain") == 200
    assert job.process.alive()


@pytest.mark.deadline(180)
def test_blocked_sink_does_not_cost_the_session(make_pair):
    """F17: unsolicited status keeps the walsender although nothing can be confirmed for many timeouts."""
    pair = make_pair(source={"wal_sender_timeout": "2s"})
    pair.source.sql(TABLES)
    bank = pair.bank(pause=0.05).start()
    job = pair.running_job()
    pid = pair.source.slot(job.slot)[2]
    holder = blocked(pair)
    poll_while(lambda: pair.source.slot(job.slot)[2] == pid, "the same walsender", 20)
    holder.rollback()
    holder.close()
    bank.pause_writers()
    pair.wait_equal()
    assert pair.source.slot(job.slot)[2] == pid
    assert job.status()["totals"]["retries"] == 0


def test_blocked_sink_with_a_backlog_larger_than_memory(make_pair):
    """I8: the source stops reading, memory stays bounded, status goes on."""
    pair = make_pair(source={"wal_sender_timeout": "2s"})
    pair.source.sql(TABLES)
    pair.source.sql("CREATE TABLE bulk (id int PRIMARY KEY, v text)")
    job = pair.running_job(memory="16MiB")
    pid = pair.source.slot(job.slot)[2]
    holder = blocked(pair)
    for part in range(40):
        pair.source.sql("INSERT INTO bulk SELECT i, repeat(md5(i::text), 60) FROM generate_series(%s, %s) i",
                        (part * 1000, part * 1000 + 999))
    poll_while(lambda: pair.source.slot(job.slot)[2] == pid, "the same walsender", 6)
    assert job.status()["rss_bytes"] < 100 << 20, "80 MB wait at the source, not in memory"
    holder.rollback()
    holder.close()
    pair.wait_equal()
