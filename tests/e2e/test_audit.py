"""The sums of what came and what was applied (core/audit.h), against what the source's own decoder says."""
import re
from collections import Counter

import pytest

from harness.poll import poll_until

LINE = re.compile(r'table "?(\w+)"?\."?(\w+)"?: (INSERT|UPDATE|DELETE)')
TRUNCATED = re.compile(r"table (\w+\.\w+(?:, \w+\.\w+)*): TRUNCATE")
COUNT = "SELECT lsn - '0/0', data FROM pg_logical_slot_peek_changes('native', NULL, NULL)"
KINDS = ("insert", "update", "delete", "truncate")
NONE = dict.fromkeys(KINDS, 0)


def applied(table):
    return {kind: table["changes"][kind] for kind in KINDS}


def of_source(pair, starts):
    """{table: {kind: changes}} of every transaction that ends behind the table's snapshot, by another decoder."""
    done, open_ = Counter(), Counter()
    for lsn, data in pair.source.sql(COUNT):
        if data.startswith("COMMIT"):
            done.update({key: n for key, n in open_.items() if lsn > starts.get(key[0], lsn)})
            open_.clear()
        elif found := LINE.match(data):
            open_[f"{found[1]}.{found[2]}", found[3].lower()] += 1
        elif found := TRUNCATED.match(data):
            open_.update((name, "truncate") for name in found[1].split(", "))
    return {name: {kind: done[name, kind] for kind in KINDS} for name in starts}


def starts_of(pair):
    return dict(pair.target.sql("SELECT schema_name || '.' || table_name, start_lsn - '0/0' FROM walferry.table_state"))


def running_and_stopped(job):
    """What the process says of itself, and what its record at the destination says."""
    yield job.status()
    job.process.terminate()
    yield job.status()


@pytest.mark.parametrize("gear", ["live", "catch-up"])
def test_every_change_of_the_bank_is_counted_once_under_kills(make_pair, gear):
    """Issue 6, point 9: transactions in pieces, kills on both sides of a commit, sessions that begin anew."""
    pair = make_pair(source={"logical_decoding_work_mem": "64kB"})
    bank = pair.bank()
    pair.source.sql("SELECT pg_create_logical_replication_slot('native', 'test_decoding')")
    bank.start()
    job = pair.running_job(target={"gear": gear})
    for point in ("apply.before_commit:kill@20", "apply.after_commit:kill@20"):
        job.process.kill9()
        bank.writers[1].ask_large(3000, 40)
        job.start(fault=point).wait(60)
    job.start()
    job.wait_for("running")
    pair.target.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^walferry_'")
    poll_until(lambda: job.status()["totals"]["retries"] > 0, "a session that begins anew")
    bank.pause_writers()
    job.drain(pair.source)
    expected = of_source(pair, starts_of(pair))
    pair.source.sql("SELECT pg_drop_replication_slot('native')")
    for status in running_and_stopped(job):
        tables = {table["name"]: table for table in status["tables"]}
        assert {name: applied(table) for name, table in tables.items()} == expected
        assert expected["public.detail"]["insert"] > 6000 and expected["public.full_rows"]["update"] > 0
        assert status["audit"]["broken"] is None and all(table["changes"]["equal"] for table in tables.values())
        assert all(table["changes"]["received"] == sum(applied(table).values()) for table in tables.values())
    pair.check_equal()


def test_progress_moved_by_hand_is_seen(pair):
    """Changes that are lost that way are missing from the count, and the sums are no proof any more."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = pair.running_job()
    pair.source.sql("INSERT INTO t SELECT generate_series(1, 10)")
    job.drain(pair.source)
    job.process.terminate()
    pair.source.sql("INSERT INTO t SELECT generate_series(11, 20)")
    pair.target.sql("INSERT INTO walferry.progress (job, prev_lsn, lsn) SELECT job, max(lsn), %s FROM walferry.progress"
                    " GROUP BY job", (pair.source.one("SELECT pg_current_wal_lsn()"),))
    job.start()
    job.wait_for("running")
    pair.source.sql("INSERT INTO t SELECT generate_series(21, 30)")
    job.drain(pair.source)
    assert "the count of changes is no proof any more: the progress was moved by hand" in job.process.err
    for status in running_and_stopped(job):
        assert status["audit"]["broken"].startswith("the progress was moved by hand: nothing was counted at ")
        assert applied(status["tables"][0]) == {**NONE, "insert": 20}
    assert pair.target.one("SELECT count(*) FROM t") == 20


@pytest.mark.parametrize("gear", ["live", "catch-up"])
def test_what_is_left_out_is_counted_as_such(pair, gear):
    """By dml, and as a dead letter: received = applied + left out."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = pair.running_job(target={"gear": gear}, conflicts="skip", objects={"dml": ["insert", "update"]})
    pair.target.sql("INSERT INTO t VALUES (5)")
    pair.source.sql("INSERT INTO t SELECT generate_series(1, 10)")
    pair.source.sql("DELETE FROM t WHERE id > 7")
    job.drain(pair.source)
    for status in running_and_stopped(job):
        changes = status["tables"][0]["changes"]
        assert changes == {**NONE, "insert": 9, "received": 13, "left_out": 4, "equal": True}
    assert pair.target.one("SELECT count(*) FROM t") == 10
