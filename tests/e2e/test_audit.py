"""The sums of what came and what was applied (core/audit.h), against what the source's own decoder says."""
import re
from collections import Counter

import pytest

from harness.poll import poll_until
from harness.streaming import EARLY

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


def test_status_from_elsewhere_sees_one_moment(pair):
    """Read while the progress moves, without the process: sums and progress are of one commit."""
    bank = pair.bank()
    bank.start()
    job = pair.running_job()
    elsewhere = {"XDG_RUNTIME_DIR": str(pair.directory / "elsewhere")}
    seen = set()
    for _ in range(30):
        status = job.call("status", "--json", env=elsewhere).json()
        assert status["state"] == "stopped" and status["audit"]["broken"] is None
        assert all(table["changes"]["equal"] for table in status["tables"])
        seen.add(status["applied_lsn"])
    assert len(seen) > 10


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
@pytest.mark.parametrize("policy", ["skip", "source-wins"])
def test_what_is_left_out_is_counted_as_such(pair, policy, gear):
    """By dml, and as a dead letter: received = applied + left out. What the source wins is applied. A TRUNCATE of two tables
    counts for each as that one takes it."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1)")
    job = pair.running_job(target={"gear": gear}, conflicts=policy,
                           objects={"dml": ["insert", "update"], "tables": {"public.u": {"dml": list(KINDS)}}})
    pair.target.sql("INSERT INTO t VALUES (5); DELETE FROM u")
    pair.source.sql("INSERT INTO t SELECT generate_series(1, 10); DELETE FROM u")
    pair.source.sql("DELETE FROM t WHERE id > 7")
    pair.source.sql("TRUNCATE t, u")
    job.drain(pair.source)
    letters = 1 if policy == "skip" else 0
    for status in running_and_stopped(job):
        changes = {table["name"]: table["changes"] for table in status["tables"]}
        assert changes == {
            "public.t": {**NONE, "insert": 10 - letters, "received": 14, "left_out": 4 + letters, "equal": True},
            "public.u": {**NONE, "delete": 1 - letters, "truncate": 1, "received": 2, "left_out": letters, "equal": True}}
    assert pair.target.one("SELECT count(*) FROM t") == 10


@pytest.mark.parametrize("gear", ["live", "catch-up"])
def test_what_is_applied_while_it_arrives_is_counted(make_pair, gear):
    """Trap A7: only what savepoints leave, and nothing of what is rolled back or comes again after a kill."""
    pair = make_pair(source=EARLY)
    rows = "INSERT INTO s SELECT i, md5(i::text) FROM generate_series({0}, {0} + 1499) i"
    pair.source.sql("CREATE TABLE s (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text)")
    pair.source.sql("SELECT pg_create_logical_replication_slot('native', 'test_decoding')")
    job = pair.running_job(target={"gear": gear}, fault="early.small_parts:fail")
    for statement in ("{0}; SAVEPOINT a; {1}; ROLLBACK TO a; {2}; INSERT INTO u VALUES (1, 'x'); COMMIT",
                      "SAVEPOINT a; {3}; UPDATE s SET v = 'y' WHERE id % 7 = 0; SAVEPOINT b; {4}; ROLLBACK TO a; {5};"
                      " COMMIT",
                      "{6}; ROLLBACK",
                      "DELETE FROM s WHERE id % 2 = 0; SAVEPOINT a; {7}; RELEASE a; SAVEPOINT b; {8}; COMMIT"):
        pair.source.sql("BEGIN; " + statement.format(*(rows.format(part * 10000) for part in range(9))))
    job.drain(pair.source)
    early = job.status()["totals"]["early"]
    session = pair.source.connect(autocommit=False)
    session.cursor().execute(rows.format(90000))
    poll_until(lambda: pair.target.one("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND backend_xid"
                                       " IS NOT NULL", (f"walferry_{job.name}",)) == 1, "one is applied while it arrives")
    job.process.kill9()
    job.start(fault="early.small_parts:fail")
    job.wait_for("running")
    session.cursor().execute("UPDATE s SET v = 'z' WHERE id % 3 = 0")
    session.commit()
    session.close()
    job.drain(pair.source)
    assert early >= 3 and job.status()["totals"]["early"] >= 1
    expected = of_source(pair, starts_of(pair))
    pair.source.sql("SELECT pg_drop_replication_slot('native')")
    for status in running_and_stopped(job):
        assert {table["name"]: applied(table) for table in status["tables"]} == expected
        assert status["audit"]["broken"] is None and all(table["changes"]["equal"] for table in status["tables"])
    pair.check_equal()


@pytest.mark.parametrize("ddl", ["stop", "pause-table", "apply"])
def test_a_table_keeps_its_sums_through_its_changes(pair, ddl):
    """Under another name and of another form; what is loaded again counts from its new snapshot on."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE other (id int PRIMARY KEY)")
    job = pair.running_job(ddl=ddl)
    pair.source.sql("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 10) i")
    job.drain(pair.source)
    change = "ALTER TABLE t RENAME TO renamed; ALTER TABLE renamed ADD w int"
    pair.source.sql(change)
    pair.source.sql("BEGIN; INSERT INTO other VALUES (1); UPDATE renamed SET w = 1 WHERE id <= 3; COMMIT")
    if ddl == "stop":
        assert job.process.wait(30) == 5, job.process.err
        pair.target.sql(change)
        job.start()
        job.wait_for("running")
    pair.wait_equal()
    pair.source.sql("DELETE FROM renamed WHERE id = 10")
    pair.wait_equal()
    updates = 0 if ddl == "pause-table" else 3
    for status in running_and_stopped(job):
        changes = {table["name"].replace("renamed", "t"): table["changes"] for table in status["tables"]}
        assert changes == {
            "public.t": {**NONE, "insert": 10, "update": updates, "delete": 1, "received": 11 + updates, "left_out": 0,
                         "equal": True},
            "public.other": {**NONE, "insert": 1, "received": 1, "left_out": 0, "equal": True}}
        assert status["audit"]["broken"] is None


def test_a_table_that_joins_counts_from_its_own_snapshot_on(pair):
    """F60: beside one whose sums go on."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = pair.running_job(ddl="pause-table")
    pair.source.sql("INSERT INTO t SELECT generate_series(1, 10)")
    pair.source.sql("CREATE TABLE n (id int PRIMARY KEY); INSERT INTO n SELECT generate_series(1, 100)")
    poll_until(lambda: pair.target.one("SELECT count(*) = 2 AND bool_and(loaded) FROM walferry.table_state"), "it has joined", 40)
    job.wait_for("running")
    pair.source.sql("DELETE FROM n WHERE id <= 3; INSERT INTO t SELECT generate_series(11, 20)")
    job.drain(pair.source)
    assert job.process.terminate() == 0
    status = job.status()
    assert {table["name"]: applied(table) for table in status["tables"]} == {
        "public.n": {**NONE, "delete": 3}, "public.t": {**NONE, "insert": 20}}
    assert status["audit"]["broken"] is None and all(table["changes"]["equal"] for table in status["tables"])
    pair.check_equal()
