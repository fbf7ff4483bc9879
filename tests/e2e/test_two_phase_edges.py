"""source.two_phase: yes where servers, people and kills are at their worst (trap A8, F50, F81)."""
import pytest

from harness.poll import poll_until
from harness.standby import dsn_of_both, make_standby, promote, wait_synced
from test_two_phase import TABLES, YES, backend_waits_for, prepare, prepared, rows

QUIET = {"source": {"two_phase": True, "heartbeat": 0}}


@pytest.fixture
def edge_pair(make_pair):
    """edge_pair(version=None, source={settings}, target={settings})"""
    def make(version=None, source=None, target=None):
        common = {"max_prepared_transactions": 20} | ({"version": version} if version else {})
        pair = make_pair(source=common | {"logical_decoding_work_mem": "64kB"} | (source or {}),
                         target=common | (target or {}))
        pair.source.sql(TABLES)
        return pair
    return make


def finish_by_hand(pair, how):
    session = pair.target.connect()
    session.cursor().execute(f"{how} PREPARED '{prepared(pair).pop()}'")
    session.close()


@pytest.mark.parametrize("version", [15, 16, 17, 18])
def test_what_only_locks_rows_has_no_prepare_or_no_begin(edge_pair, version):
    """16 and 17 send its COMMIT PREPARED and nothing before, 18 its PREPARE without BEGIN PREPARE."""
    pair = edge_pair(version)
    job = pair.running_job(**YES)
    decided = []
    for number, statement in enumerate(["SELECT FROM sums WHERE id = {} FOR UPDATE", "LOCK TABLE plain", "SELECT 1"]):
        for row, outcome in enumerate(["COMMIT", "ROLLBACK"], 1):
            prepare(pair.source, f"{outcome}{number}", statement.format(row))
            pair.source.sql(f"UPDATE sums SET amount = amount + 1 WHERE id = {4 + number}")
            decided.append(f"{outcome} PREPARED '{outcome}{number}'")
            if statement.startswith("LOCK"):
                pair.source.sql(decided.pop())
    job.drain(pair.source)
    for decision in decided:
        pair.source.sql(decision)
        pair.source.sql("UPDATE sums SET amount = amount + 1 WHERE id = 9")
    job.drain(pair.source)
    pair.check_equal()
    assert prepared(pair) == set() and job.process.terminate() == 0


def test_rows_that_are_alike_do_not_wait_for_a_prepared_one(edge_pair):
    """FULL identity: of equal rows the prepared transaction holds one, another will do (trap A7b)."""
    pair = edge_pair()
    pair.source.sql("INSERT INTO plain SELECT 5, 'same' FROM generate_series(1, 6)")
    pair.source.sql("CREATE TABLE leaves (n int, v text) PARTITION BY RANGE (n);"
                    " CREATE TABLE leaf PARTITION OF leaves FOR VALUES FROM (1) TO (10);"
                    " ALTER TABLE leaf REPLICA IDENTITY FULL; ALTER TABLE leaves REPLICA IDENTITY FULL;"
                    " INSERT INTO leaves SELECT 5, 'same' FROM generate_series(1, 6)")
    job = pair.running_job(**YES)
    one = "(SELECT ctid FROM {0} WHERE v = 'same' ORDER BY ctid {1} LIMIT 1)"
    for table in "plain", "leaf":
        prepare(pair.source, table, f"DELETE FROM {table} WHERE ctid = {one.format(table, 'ASC')}",
                f"UPDATE {table} SET v = 'prepared' WHERE ctid = {one.format(table, 'ASC')}")
        pair.source.sql(f"DELETE FROM {table} WHERE ctid = {one.format(table, 'DESC')}")
        pair.source.sql(f"UPDATE {table} SET v = 'other' WHERE ctid = {one.format(table, 'DESC')}")
    job.drain(pair.source, timeout=20)
    pair.source.sql("COMMIT PREPARED 'plain'")
    pair.source.sql("ROLLBACK PREPARED 'leaf'")
    job.drain(pair.source)
    pair.check_equal()


def test_what_is_stricter_at_the_target_is_told_and_decided_by_hand(edge_pair):
    """F81: the apply waits for a lock of its own prepared transaction, whose outcome is behind it."""
    pair = edge_pair()
    job = pair.running_job(**YES)
    pair.target.sql("CREATE UNIQUE INDEX ON big (v)")
    prepare(pair.source, "kept", "INSERT INTO big VALUES (1, 'x')")
    prepare(pair.source, "away", "INSERT INTO big VALUES (3, 'y')")
    job.drain(pair.source)
    names = prepared(pair)
    pair.source.sql("INSERT INTO big VALUES (4, 'y')")
    poll_until(lambda: "its outcome is behind what waits" in job.process.err, "it is told", 20)
    told = [name for name in names if f'prepared transaction "{name}" there holds' in job.process.err]
    assert len(told) == 1 and "COMMIT PREPARED" in job.status()["reason"]
    pair.source.sql("ROLLBACK PREPARED 'away'")
    session = pair.target.connect()
    session.cursor().execute(f"ROLLBACK PREPARED '{told[0]}'")
    session.close()
    pair.source.sql("COMMIT PREPARED 'kept'")
    job.drain(pair.source)
    pair.check_equal()
    assert prepared(pair) == set()
    poll_until(lambda: "the target goes on" in job.process.err, "it is told, too", 20)


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("decided, by_hand", [("COMMIT", "COMMIT"), ("ROLLBACK", "ROLLBACK"),
                                              ("COMMIT", "ROLLBACK"), ("ROLLBACK", "COMMIT")])
def test_what_somebody_else_decided(edge_pair, running, decided, by_hand):
    """As at the source: done. The other way round: exit 5, however often it is started."""
    pair = edge_pair()
    job = pair.running_job(**QUIET)
    prepare(pair.source, "it", "INSERT INTO plain VALUES (1, 'it')")
    poll_until(lambda: prepared(pair), "it is prepared")
    if running:
        pair.source.sql("UPDATE sums SET amount = 5 WHERE id = 5")
        poll_until(lambda: pair.target.one("SELECT amount FROM sums WHERE id = 5") == 5, "the progress is behind it")
    else:
        job.process.terminate()
    finish_by_hand(pair, by_hand)
    pair.source.sql(f"{decided} PREPARED 'it'")
    if not running:
        job.start()
    if decided == by_hand:
        pair.source.sql("UPDATE sums SET amount = 6 WHERE id = 6")
        pair.wait_equal()
        assert job.process.terminate() == 0
        return
    for _ in range(2):
        assert job.process.wait(30) == 5
        assert f"somebody {'rolled it back' if by_hand == 'ROLLBACK' else 'committed it'}" in job.process.err
        assert "hint: both sides differ in its rows" in job.process.err
        job.start()


def test_prepared_before_the_snapshot_of_a_resumed_load(edge_pair):
    """Traps A2, A8: it lies before the later table's snapshot, which has not seen it, and behind what is applied."""
    pair = edge_pair()
    source = pair.source
    job = pair.job(**QUIET, load={"workers": 1})
    assert job.start(fault="snapshot.mid_table:kill@2").wait(60) == -9
    loaded = dict(pair.target.sql("SELECT table_name, loaded FROM walferry.table_state"))
    assert sorted(loaded.values()) == [False, False, True]
    prepare(source, "soon", "UPDATE sums SET amount = amount + 7 WHERE id = 7", "INSERT INTO plain VALUES (7, 'soon')",
            rows(1001, 20))
    source.sql("COMMIT PREPARED 'soon'")
    first, second = source.connect(autocommit=False), source.connect(autocommit=False)
    first.cursor().execute("SELECT pg_current_xact_id()")
    job.start()
    poll_until(lambda: "waiting for PID" in job.process.err, "the temporary slot waits", 30)
    with second.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
        second_xid = cursor.fetchone()[0]
    first.commit()
    poll_until(lambda: backend_waits_for(source, second_xid), "the slot waits for the second one", 30)
    prepare(source, "kept", "INSERT INTO plain VALUES (1, 'kept')", "UPDATE sums SET amount = 1 WHERE id = 1",
            rows(1, 20))
    prepare(source, "away", "INSERT INTO plain VALUES (2, 'away')", "DELETE FROM sums WHERE id = 2")
    second.commit()
    job.wait_for("running")
    starts = pair.target.sql("SELECT DISTINCT start_lsn FROM walferry.table_state")
    assert len(starts) == 2, "the tables are of different moments"
    poll_until(lambda: len(prepared(pair)) == 2, "both are prepared at the target")
    source.sql("COMMIT PREPARED 'kept'")
    source.sql("ROLLBACK PREPARED 'away'")
    pair.wait_equal()
    first.close()
    second.close()


def test_a_resumed_load_names_the_prepared_transaction_that_it_waits_for(edge_pair):
    """F18: a temporary slot waits for it; what is prepared while the first load runs goes its way."""
    pair = edge_pair()
    job = pair.job(**YES, load={"workers": 1})
    process = job.start(fault="snapshot.mid_table:sleep:3000@1,snapshot.mid_table:kill@2")
    process.wait_reached("snapshot.mid_table")
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')", rows(1, 20))
    assert process.wait(60) == -9
    job.start()
    poll_until(lambda: 'waiting for prepared transaction "kept"' in job.process.err, "it is named", 30)
    assert job.status()["phase"] == "full"
    pair.source.sql("COMMIT PREPARED 'kept'")
    job.wait_for("running")
    pair.wait_equal()
    assert prepared(pair) == set()


def test_prepared_while_the_load_runs(edge_pair):
    pair = edge_pair()
    job = pair.job(**YES)
    process = job.start(fault="snapshot.after_export:sleep:3000@1")
    process.wait_reached("snapshot.after_export")
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')", "DELETE FROM sums WHERE id = 1")
    prepare(pair.source, "away", "INSERT INTO plain VALUES (2, 'away')", "DELETE FROM sums WHERE id = 2")
    prepare(pair.source, "soon", "INSERT INTO plain VALUES (3, 'soon')", "DELETE FROM sums WHERE id = 3")
    pair.source.sql("COMMIT PREPARED 'soon'")
    job.wait_for("running")
    job.drain(pair.source)
    assert len(prepared(pair)) == 2 and pair.target.one("SELECT count(*) FROM plain") == 1
    pair.source.sql("COMMIT PREPARED 'kept'")
    pair.source.sql("ROLLBACK PREPARED 'away'")
    pair.wait_equal()
    assert prepared(pair) == set()


def test_two_phase_begins_where_the_target_cannot_fall_back(edge_pair):
    """The slot keeps where it was first asked for prepared transactions: no progress that a crash takes back."""
    pair = edge_pair(target={"wal_writer_delay": "10s", "bgwriter_delay": "10s"})
    job = pair.running_job(source={"heartbeat": 0})
    job.process.terminate()
    process = job.start(fault="apply.after_commit:kill@1")
    job.wait_for("running")
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')")
    pair.source.sql("UPDATE sums SET amount = 5 WHERE id = 5")
    assert process.wait(30) == -9
    applied = "SELECT max(lsn) FROM walferry.progress"
    unflushed = pair.target.one(applied)
    job.rewrite({"source": {"two_phase": True}})
    process = job.start(fault="apply.before_progress_read:sleep:3000@1")
    process.wait_reached("apply.before_progress_read")
    pair.target.server.kill9()
    pair.target.server.start()
    assert pair.target.one(applied) == unflushed, "it was flushed before the slot heard of it"
    job.wait_for("running")
    poll_until(lambda: pair.target.one("SELECT amount FROM sums WHERE id = 5") == 5, "it goes on")
    pair.source.sql("COMMIT PREPARED 'kept'")
    pair.wait_equal()
    assert prepared(pair) == set() and job.process.terminate() == 0


def test_prepared_before_a_position_that_was_promised(edge_pair):
    """Without a heartbeat the slot moves over idle WAL and what is prepared in it: that comes whole at its commit."""
    pair = edge_pair()
    job = pair.running_job(source={"heartbeat": 0})
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')")
    behind = pair.source.lsn()
    pair.source.sql("SELECT pg_logical_emit_message(false, 'idle', repeat('x', 1000000)) FROM generate_series(1, 20)")
    poll_until(lambda: pair.source.slot(job.slot)[0] > behind, "the slot is promised to be beyond it", 40)
    assert job.process.terminate() == 0
    job.rewrite({"source": {"two_phase": True}})
    process = job.start(fault="apply.after_commit:kill@1")
    job.wait_for("running")
    pair.source.sql("COMMIT PREPARED 'kept'")
    assert process.wait(30) == -9
    job.start()
    job.wait_for("running")
    pair.source.sql("UPDATE sums SET amount = 5 WHERE id = 5")
    pair.wait_equal()
    assert prepared(pair) == set() and job.process.terminate() == 0


def test_somebody_who_finishes_it_at_once_is_told(edge_pair):
    pair = edge_pair()
    job = pair.running_job(**YES)
    job.process.terminate()
    process = job.start(fault="apply.after_prepare:sleep:3000@1")
    prepare(pair.source, "it", "INSERT INTO plain VALUES (1, 'it')")
    process.wait_reached("apply.after_prepare")
    finish_by_hand(pair, "ROLLBACK")
    assert process.wait(30) == 5
    assert "was prepared at the target and is gone there" in process.err and "leave them alone" in process.err
    job.start()
    job.wait_for("running")
    pair.source.sql("COMMIT PREPARED 'it'")
    pair.wait_equal()
    assert prepared(pair) == set()


def test_a_large_prepared_transaction_goes_out_in_pieces_and_is_killed_in_one(edge_pair):
    pair = edge_pair()
    job = pair.running_job(**YES, memory="16MiB")
    job.process.terminate()
    process = job.start(fault="apply.after_prepare:kill@1")
    prepare(pair.source, "kept", rows(1, 12000), "INSERT INTO plain VALUES (1, 'kept')")
    assert process.wait(60) == -9
    process = job.start(fault="apply.after_prepare:kill@2")
    prepare(pair.source, "away", rows(20001, 12000), "INSERT INTO plain VALUES (2, 'away')")
    assert process.wait(60) == -9
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    assert len(prepared(pair)) == 2
    pair.source.sql("COMMIT PREPARED 'kept'")
    pair.source.sql("ROLLBACK PREPARED 'away'")
    pair.wait_equal()
    assert prepared(pair) == set() and job.process.terminate() == 0


@pytest.mark.parametrize("spill", ["64kB", "64MB"], ids=["streamed", "whole"])
@pytest.mark.parametrize("version", [15, 18])
def test_rolled_back_before_it_is_decoded(edge_pair, version, spill):
    """The server stops sending its rows where it finds out, and sends the PREPARE all the same."""
    pair = edge_pair(version, source={"logical_decoding_work_mem": spill})
    job = pair.running_job(**YES)
    job.process.terminate()
    prepare(pair.source, "away", "INSERT INTO plain VALUES (2, 'away')", rows(1, 3000),
            "ALTER TABLE plain ADD extra int", "INSERT INTO plain VALUES (3, 'away', 7)", rows(5001, 2000))
    pair.source.sql("ROLLBACK PREPARED 'away'")
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')")
    pair.source.sql("COMMIT PREPARED 'kept'")
    pair.source.sql(rows(1, 10))
    job.start()
    job.wait_for("running")
    pair.wait_equal()
    assert prepared(pair) == set() and job.process.terminate() == 0


def test_truncate_message_and_definition_in_a_prepared_transaction_over_a_restart(edge_pair):
    """The source keeps its lock on the table: a start must not need it, because the outcome waits behind the start."""
    pair = edge_pair()
    pair.source.sql(rows(1, 100))
    job = pair.running_job(**YES)
    prepare(pair.source, "kept", "TRUNCATE big", "SELECT pg_logical_emit_message(true, 'app', 'hello')",
            "INSERT INTO big VALUES (-1, 'x')", "ALTER TABLE plain ALTER v SET STORAGE PLAIN")
    job.drain(pair.source)
    assert len(prepared(pair)) == 1
    job.process.kill9()
    job.start()
    job.wait_for("running", 30)
    pair.source.sql("UPDATE sums SET amount = 5 WHERE id = 5")
    job.drain(pair.source)
    pair.source.sql("COMMIT PREPARED 'kept'")
    pair.wait_equal()
    assert prepared(pair) == set()


def test_until_between_prepare_and_outcome(edge_pair):
    pair = edge_pair()
    job = pair.running_job(**YES)
    job.process.terminate()
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')")
    between = pair.source.one("SELECT pg_current_wal_insert_lsn()")
    pair.source.sql("COMMIT PREPARED 'kept'")
    pair.source.sql("UPDATE sums SET amount = 5 WHERE id = 5")
    for _ in range(2):
        assert job.run("--until", between).exit == 0
        assert len(prepared(pair)) == 1 and pair.target.one("SELECT count(*) FROM plain") == 0
    assert job.run("--until", "now").exit == 0
    pair.check_equal()
    assert prepared(pair) == set()


def test_two_jobs_with_names_alike_on_one_target(edge_pair):
    pair = edge_pair()
    beside = pair.source.server.database("beside")
    beside.sql("CREATE TABLE other (id int PRIMARY KEY)")
    one = pair.running_job(name="shop", **YES)
    two = pair.running_job(name="shop_1", source_dsn=beside.dsn(), **YES)
    prepare(pair.source, "one", "INSERT INTO plain VALUES (1, 'one')")
    prepare(beside, "two", "INSERT INTO other VALUES (2)")
    poll_until(lambda: len(prepared(pair)) == 2, "each job has its own", 30)
    one.process.kill9()
    two.process.kill9()
    assert one.call("cleanup").exit == 0
    assert len(prepared(pair)) == 1 and prepared(pair).pop().startswith("walferry_shop_1_")
    two.start()
    beside.sql("COMMIT PREPARED 'two'")
    poll_until(lambda: pair.target.one("SELECT count(*) FROM other") == 1, "the other job goes on", 30)
    assert prepared(pair) == set()


def test_check_and_the_slot_of_each_version(edge_pair):
    for version, failover in ((14, None), (17, False), (18, True)):
        pair = edge_pair(version)
        if version == 14:
            items = pair.job(**YES).call("check", "--json").json()["items"]
            item = next(item for item in items if item["name"] == "two-phase")
            assert item["state"] == "failed" and "from PostgreSQL 15 on" in item["seen"]
            assert pair.job(**YES).run().exit == 2 and pair.source.server.slots() == set()
            continue
        job = pair.running_job(**YES)
        slot = pair.source.sql("SELECT failover, two_phase FROM pg_replication_slots WHERE slot_name = %s", (job.slot,))
        assert slot == [(failover, True)]
        assert ("is made without FAILOVER" in job.process.err) == (not failover)
        prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')")
        job.drain(pair.source)
        pair.source.sql("COMMIT PREPARED 'kept'")
        pair.wait_equal()


def test_failover_on_18_between_prepare_and_outcome(edge_pair):
    """F35: 18 brings the slot's two-phase point to the standby, so what is prepared goes on there."""
    pair = edge_pair(18)
    standby = make_standby(pair)
    primary = pair.source.server
    primary.configure({"synchronous_standby_names": "standby", "synchronized_standby_slots": "standby"})
    primary.reload()
    job = pair.job(source_dsn=dsn_of_both(pair, standby), **YES)
    job.start()
    job.wait_for("running")
    wait_synced(pair, standby, job.slot)  # before: a slot that has to wait for a prepared transaction is not brought
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')", rows(1, 2000))
    prepare(pair.source, "away", "INSERT INTO plain VALUES (2, 'away')", "DELETE FROM sums WHERE id = 2")
    pair.source.sql("UPDATE sums SET amount = 5 WHERE id = 5")
    behind = pair.source.lsn()
    poll_until(lambda: standby.one("SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = %s",
                                   (job.slot,)) > behind, "the standby's slot is behind both", 30)
    prepare(pair.source, "late", "INSERT INTO plain VALUES (3, 'late')")
    job.drain(pair.source)
    assert len(prepared(pair)) == 3
    primary.kill9()
    promote(pair, standby)
    for setting in "synchronous_standby_names", "synchronized_standby_slots":
        standby.sql(f"ALTER SYSTEM RESET {setting}")
    standby.reload()
    pair.source.sql("COMMIT PREPARED 'kept'")
    pair.source.sql("ROLLBACK PREPARED 'away'")
    prepare(pair.source, "new", "INSERT INTO plain VALUES (4, 'new')")
    pair.source.sql("COMMIT PREPARED 'late'")
    job.drain(pair.source)
    assert len(prepared(pair)) == 1 and "gone from timeline 1 to 2" in job.process.err
    pair.source.sql("COMMIT PREPARED 'new'")
    job.drain(pair.source)
    pair.check_equal()
    assert prepared(pair) == set() and job.process.terminate() == 0
