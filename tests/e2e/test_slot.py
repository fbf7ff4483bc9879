"""The slot in foreign hands, or gone: exit 3 with a sentence, and never a new slot by itself."""
import os
import signal
import threading

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection

from harness.place import postgres_bin
from harness.poll import poll_until
from harness.standby import disk_keep, disk_set_back

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 50) i"


def stopped_job(pair, **config):
    pair.source.sql(TABLE)
    job = pair.running_job(**config)
    assert job.process.terminate() == 0
    return job


def lost(result, *words, born=True):
    assert result.exit == 3, f"exit {result.exit}: {result.err}"
    for word in words:
        assert word in result.err, f"{word!r} is not in the sentence: {result.err}"
    assert "hint:" in result.err, f"the two ways out are missing: {result.err}"
    assert "everything up to" in result.err or not born, f"what is safe is missing: {result.err}"


def insert(pair, number):
    pair.source.sql("INSERT INTO t VALUES (%s, 'later')", (number,))


def test_heartbeat_table_made_by_another_job_at_the_same_moment(pair):
    """IF NOT EXISTS does not hold between two sessions: whoever comes second is refused by a catalog."""
    pair.source.sql(TABLE)
    other = pair.source.connect(autocommit=False)
    other.cursor().execute("CREATE TABLE dts_postgres_heartbeat (job text PRIMARY KEY, beat bigint, at timestamptz)")
    job = pair.job()
    process = job.start()
    poll_until(lambda: pair.source.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                       " AND query LIKE '%dts_postgres_heartbeat%'"), "it waits for the other job", 30)
    other.commit()
    other.close()
    job.wait_for("running")
    assert process.terminate() == 0, process.err


@pytest.mark.asan
def test_slot_dropped_while_stopped(pair):
    """F27."""
    job = stopped_job(pair)
    pair.source.sql("SELECT pg_drop_replication_slot(%s)", (job.slot,))
    insert(pair, 1000)
    lost(job.run(), job.slot)
    assert pair.source.slot(job.slot) is None, "it was made again silently"
    lost(job.run(), job.slot)


def test_slot_dropped_while_running(pair):
    """F27."""
    pair.source.sql(TABLE)
    job = pair.running_job()

    def dropped():
        pair.source.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                        " WHERE slot_name = %s AND active_pid IS NOT NULL", (job.slot,))
        pair.source.sql("SELECT pg_drop_replication_slot(%s)", (job.slot,))
        return True
    poll_until(dropped, "the slot is dropped", forgiving=(psycopg2.Error,), every=0.001)
    assert job.process.wait(30) == 3
    assert job.slot in job.process.err
    assert pair.source.slot(job.slot) is None


def test_slot_dropped_and_made_again_by_somebody(pair):
    """F28: the server would start silently, and the rows between would be lost."""
    job = stopped_job(pair)
    pair.source.sql("SELECT pg_drop_replication_slot(%s)", (job.slot,))
    insert(pair, 1000)
    pair.source.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (job.slot,))
    insert(pair, 1001)
    lost(job.run(), job.slot)
    assert pair.target.sql("SELECT id FROM t WHERE id >= 1000") == []


def test_slot_advanced_by_somebody(pair):
    """F29."""
    job = stopped_job(pair)
    insert(pair, 1000)
    pair.source.sql("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", (job.slot,))
    insert(pair, 1001)
    lost(job.run(), job.slot)
    assert pair.target.sql("SELECT id FROM t WHERE id >= 1000") == []


def read_as_somebody_else(pair, slot, confirm):
    """As pg_recvlogical: everything that is there, confirmed or not."""
    connection = psycopg2.connect(pair.source.dsn(), connection_factory=LogicalReplicationConnection)
    cursor = connection.cursor()
    cursor.start_replication(slot_name=slot, decode=False,
                             options={"proto_version": "1", "publication_names": f'"{slot}"'})
    end = pair.source.lsn()
    poll_until(lambda: cursor.read_message() and cursor.wal_end >= end or cursor.wal_end >= end, "it is read", every=0)
    if confirm:
        cursor.send_feedback(write_lsn=cursor.wal_end, flush_lsn=cursor.wal_end, apply_lsn=cursor.wal_end, force=True)
        poll_until(lambda: pair.source.slot(slot)[0] >= end, "the slot has moved")
    connection.close()
    poll_until(lambda: pair.source.slot(slot)[2] is None, "nobody reads it")


def test_slot_read_and_confirmed_by_somebody(pair):
    """F29."""
    job = stopped_job(pair)
    insert(pair, 1000)
    read_as_somebody_else(pair, job.slot, confirm=True)
    insert(pair, 1001)
    lost(job.run(), job.slot, "somebody moved it")
    assert pair.target.sql("SELECT id FROM t WHERE id >= 1000") == []


def test_slot_read_by_somebody_who_confirms_nothing(pair):
    """F29: reading takes nothing away."""
    job = stopped_job(pair)
    insert(pair, 1000)
    read_as_somebody_else(pair, job.slot, confirm=False)
    job.start()
    pair.wait_equal()


def test_slot_of_our_name_that_nobody_wrote_down(pair):
    """F40, A17: somebody else's."""
    pair.source.sql(TABLE)
    job = pair.job()
    pair.source.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (job.slot,))
    before = pair.source.slot(job.slot)
    lost(job.run(), job.slot, born=False)
    assert pair.source.slot(job.slot) == before, "it was touched"


def test_other_server_behind_the_same_name(pair, other_server):
    """F39."""
    job = stopped_job(pair)
    stranger = other_server.database(pair.name)
    stranger.sql(TABLE)
    stranger.sql(f'CREATE PUBLICATION "{job.slot}" FOR ALL TABLES')
    stranger.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (job.slot,))
    job.rewrite({"source": {"dsn": stranger.dsn()}})
    lost(job.run(), "system identifier")


def test_trap_A9_new_timeline_that_forks_below_what_is_applied(make_pair):
    """A standby that was behind is promoted: the destination has what this source never had."""
    pair = make_pair()
    job = stopped_job(pair)
    server = pair.source.server
    server.stop()
    behind = disk_keep(server)
    server.start()
    job.start()
    insert(pair, 1000)
    job.drain(pair.source)
    assert job.process.terminate() == 0
    server.stop()
    disk_set_back(server, behind)
    server.configure({"restore_command": "/bin/false"})
    (server.data / "recovery.signal").touch()
    server.start()
    poll_until(lambda: not pair.source.one("SELECT pg_is_in_recovery()"), "it is promoted")
    lost(job.run(), "timeline")
    assert pair.target.one("SELECT count(*) FROM t WHERE id = 1000") == 1


def test_foreign_slots_with_our_prefix_and_similar_names_are_left_alone(pair):
    """F40: three jobs of similar names, and a slot that no job knows; cleanup of one touches only its own."""
    pair.source.sql(TABLE)
    pair.source.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (f"dts_sync_{pair.name}_old",))
    jobs = [pair.job(name=f"{pair.name}{end}", target_dsn=pair.target.server.database(f"{pair.name}{end}").dsn())
            for end in ("_1", "_1_2", "_2")]
    for job in jobs:
        job.start()
        job.wait_for("running")
    ours = {job.slot for job in jobs} | {f"dts_sync_{pair.name}_old"}
    assert pair.source.server.slots(f"dts_sync_{pair.name}") == ours
    assert jobs[0].process.terminate() == 0
    assert jobs[0].call("cleanup").exit == 0
    assert pair.source.server.slots(f"dts_sync_{pair.name}") == ours - {jobs[0].slot}
    assert pair.source.one("SELECT count(*) FROM pg_publication") == 2
    insert(pair, 1000)
    for job in jobs[1:]:
        job.drain(pair.source)
        assert job.process.terminate() == 0
        assert job.call("cleanup").exit == 0
    assert pair.source.server.slots(f"dts_sync_{pair.name}") == {f"dts_sync_{pair.name}_old"}
    for job in jobs:
        pair.target.server.sql(f'DROP DATABASE "{job.name}" WITH (FORCE)')


@pytest.mark.parametrize("ending", ["_load", "_i"])
def test_name_of_another_job_s_own_things_is_refused(pair, ending):
    """F40."""
    job = pair.job(name=f"{pair.name}{ending}")
    done = job.run()
    assert done.exit == 2 and f'cannot end in "{ending}"' in done.err
    assert pair.source.server.slots(job.slot) == set()


VERSIONS = [None, 18]  # newer servers go on silently without a publication (L21)


@pytest.fixture
def pair_of(pair, version_pair):
    """pair_of(version): None is the shared pair."""
    def make(version):
        return version_pair(version, version) if version else pair
    return make


def newest_dump(version):
    return {"schema": {"pg_dump": str(postgres_bin(18) / "pg_dump")}} if version else {}


@pytest.mark.parametrize("version", VERSIONS)
def test_publication_dropped_while_running(pair_of, version):
    """F41."""
    pair = pair_of(version)
    pair.source.sql(TABLE)
    job = pair.running_job(**newest_dump(version))
    pair.source.sql(f'DROP PUBLICATION "{job.slot}"')
    insert(pair, 1000)
    assert job.process.wait(40) == 3
    assert job.slot in job.process.err


def test_publication_dropped_while_stopped(pair):
    job = stopped_job(pair)
    pair.source.sql(f'DROP PUBLICATION "{job.slot}"')
    insert(pair, 1000)
    lost(job.run(), job.slot)


@pytest.mark.parametrize("version", VERSIONS)
def test_table_taken_out_of_the_publication_while_running(pair_of, version):
    """F41, L21: within one interval of the guard."""
    pair = pair_of(version)
    pair.source.sql(TABLE)
    job = pair.running_job(**newest_dump(version))
    pair.source.sql(f'ALTER PUBLICATION "{job.slot}" DROP TABLE t')
    assert job.process.wait(10) == 3
    assert "public.t" in job.process.err


def test_lost_slot_ends_at_once_with_the_setting_named(make_pair):
    """F30, L18."""
    pair = make_pair(source={"max_slot_wal_keep_size": "2MB", "max_wal_size": "4MB", "min_wal_size": "2MB"})
    job = stopped_job(pair)

    def is_lost():
        pair.source.sql("CREATE TABLE IF NOT EXISTS filler (v text); INSERT INTO filler SELECT repeat('x', 1000)"
                        " FROM generate_series(1, 5000); SELECT pg_switch_wal()")
        pair.source.sql("CHECKPOINT")
        return pair.source.one("SELECT wal_status FROM pg_replication_slots") == "lost"
    poll_until(is_lost, "the slot is lost")
    begin_exit = job.run(timeout=20)
    lost(begin_exit, "max_slot_wal_keep_size")


def test_frozen_walsender_is_told_of_before_the_slot_is_lost(make_pair):
    """F30: the slot's WAL goes from reserved over extended and unreserved to lost, and each step is said."""
    pair = make_pair(source={"max_slot_wal_keep_size": "6MB", "max_wal_size": "2MB", "min_wal_size": "2MB",
                             "wal_sender_timeout": "120s"})
    pair.source.sql(TABLE)
    busy = pair.source.server.database("busy")
    busy.sql("CREATE TABLE filler (v text)")
    job = pair.running_job()
    walsender = pair.source.slot(job.slot)[2]
    os.kill(walsender, signal.SIGSTOP)
    checkpoint = threading.Thread(target=pair.source.sql, args=("CHECKPOINT",))
    try:
        for status in ("extended", "unreserved"):
            def is_told(status=status):
                busy.sql("INSERT INTO filler SELECT repeat('x', 900) FROM generate_series(1, 200)")
                return f"wal_status {status}" in job.process.err
            poll_until(is_told, f"it is told: {status}", 30, every=0.2)
            assert job.process.alive()
        busy.sql("INSERT INTO filler SELECT repeat('x', 900) FROM generate_series(1, 9000)")
        checkpoint.start()  # wants the slot, and waits for its frozen reader
    finally:
        os.kill(walsender, signal.SIGCONT)
    assert job.process.wait(30) == 3
    checkpoint.join()
    assert "max_slot_wal_keep_size" in job.process.err and "is at the target" in job.process.err
    lost(job.run(), job.slot, "max_slot_wal_keep_size")


def test_idle_timeout_of_the_slot_is_warned_of_and_named(make_pair):
    """F31: a server that gives slots up when nobody reads them for long (18)."""
    pair = make_pair(source={"version": 18, "idle_replication_slot_timeout": "2s"}, target={"version": 18})
    pair.source.sql(TABLE)
    job = pair.job(**newest_dump(18))
    items = {item["name"]: item for item in job.call("check", "--json").json()["items"]}
    assert items["slot-timeout"]["state"] == "alert" and "2s" in items["slot-timeout"]["seen"]
    job.start()
    job.wait_for("running")
    assert "idle_replication_slot_timeout" in job.process.err
    assert job.process.terminate() == 0

    def given_up():
        pair.source.sql("CHECKPOINT")
        return pair.source.one("SELECT invalidation_reason FROM pg_replication_slots") == "idle_timeout"
    poll_until(given_up, "the server gives the slot up", every=0.3)
    lost(job.run(), job.slot, "reason idle_timeout", "idle_replication_slot_timeout")


def test_ended_walsender_is_no_loss(pair):
    """F16."""
    bank = pair.bank().start()
    job = pair.running_job()
    for _ in range(3):
        before = pair.source.slot(job.slot)[2]
        pair.source.sql("SELECT pg_terminate_backend(%s)", (before,))
        poll_until(lambda: pair.source.slot(job.slot)[2] not in (None, before), "it reads again")
    bank.pause_writers()
    pair.wait_equal()
    assert job.process.alive()


def test_crash_restart_of_the_source_is_no_loss(make_pair):
    """F16: kill -9 of one backend restarts the whole server."""
    pair = make_pair()
    bank = pair.bank().start()
    job = pair.running_job()
    connection = pair.source.connect()
    os.kill(connection.info.backend_pid, signal.SIGKILL)
    before = bank.transactions()
    poll_until(lambda: bank.transactions() > before + 50, "writers go on")
    bank.pause_writers()
    pair.wait_equal()
    assert job.process.alive()


def test_no_free_slot_is_told(make_pair):
    """F20."""
    pair = make_pair(source={"max_replication_slots": 1})
    pair.source.sql(TABLE)
    pair.source.sql("SELECT pg_create_physical_replication_slot('somebody')")
    done = pair.job().run()
    assert done.exit == 2, done.err
    assert "max_replication_slots" in done.err
