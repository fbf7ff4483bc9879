"""The slot in foreign hands, or gone: exit 3 with a sentence, and never a new slot by itself."""
import shutil
import subprocess

import psycopg2
import pytest

from harness.poll import poll_until

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 50) i"


def stopped_job(pair, **config):
    pair.source.sql(TABLE)
    job = pair.running_job(**config)
    assert job.process.terminate() == 0
    return job


def lost(result, *words):
    assert result.exit == 3, f"exit {result.exit}: {result.err}"
    for word in words:
        assert word in result.err, f"{word!r} is not in the sentence: {result.err}"
    assert "hint:" in result.err, f"the two ways out are missing: {result.err}"


def insert(pair, number):
    pair.source.sql("INSERT INTO t VALUES (%s, 'later')", (number,))


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


def test_slot_of_our_name_that_nobody_wrote_down(pair):
    """F40, A17: somebody else's."""
    pair.source.sql(TABLE)
    job = pair.job()
    pair.source.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (job.slot,))
    before = pair.source.slot(job.slot)
    lost(job.run(), job.slot)
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
    behind = server.directory / "behind"
    subprocess.run(["cp", "-a", server.data, behind], check=True)
    server.start()
    job.start()
    insert(pair, 1000)
    job.drain(pair.source)
    assert job.process.terminate() == 0
    server.stop()
    shutil.rmtree(server.data)
    behind.rename(server.data)
    server.configure({"restore_command": "/bin/false"})
    (server.data / "recovery.signal").touch()
    server.start()
    poll_until(lambda: not pair.source.one("SELECT pg_is_in_recovery()"), "it is promoted")
    lost(job.run(), "timeline")
    assert pair.target.one("SELECT count(*) FROM t WHERE id = 1000") == 1


def test_publication_dropped_while_running(pair):
    """F41."""
    pair.source.sql(TABLE)
    job = pair.running_job()
    pair.source.sql(f'DROP PUBLICATION "{job.slot}"')
    insert(pair, 1000)
    assert job.process.wait(40) == 3
    assert job.slot in job.process.err


def test_publication_dropped_while_stopped(pair):
    job = stopped_job(pair)
    pair.source.sql(f'DROP PUBLICATION "{job.slot}"')
    insert(pair, 1000)
    lost(job.run(), job.slot)


def test_table_taken_out_of_the_publication_while_running(pair):
    """F41, L21: newer servers go on silently."""
    pair.source.sql(TABLE)
    job = pair.running_job()
    pair.source.sql(f'ALTER PUBLICATION "{job.slot}" DROP TABLE t')
    assert job.process.wait(40) == 3
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
    import os
    import signal
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
