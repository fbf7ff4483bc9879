"""The source makes trouble: it restarts, times out, has no room, takes rights away."""
import random
import time

import psycopg2
import psycopg2.extras
import pytest

from harness.poll import poll_until
from harness.vondra import vondra

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')"
TIMED_OUT = "terminating walsender process due to replication timeout"


@pytest.mark.deadline(180)
def test_both_servers_restart_in_a_loop(make_pair):
    """F15; longer by kill_test.py --only "both servers" --minutes N."""
    pair = make_pair(source={"logical_decoding_work_mem": "64kB"})
    bank = pair.bank(pause=0.005).start()
    job = pair.running_job(retry={"connection": "10min", "other": "10min"})
    watcher = pair.watcher(bank, job)
    watcher.watch()
    done = vondra(pair.source.server, pair.target.server, random.Random(pair.number), 20,
                  after=lambda: bank.check_prefix(pair.target))
    print(done)
    before = bank.transactions()
    poll_until(lambda: bank.transactions() > before + 50, "writers go on")
    bank.pause_writers()
    pair.wait_equal(timeout=90)
    watcher.check()
    assert watcher.looks > 20 and done["checkpoints"] > 20
    assert job.process.alive(), job.process.err


@pytest.mark.deadline(180)
def test_large_transaction_of_a_table_that_is_not_captured(make_pair):
    """F18, L15: nothing of it is sent for many timeouts, and neither side takes the other for dead."""
    pair = make_pair(source={"wal_sender_timeout": "2s"})
    pair.source.sql(TABLE)
    job = pair.running_job()
    pid = pair.source.slot(job.slot)[2]
    pair.source.sql("CREATE TABLE foreign_to_us (id int)")  # later than the job: not one of its tables
    pair.source.sql("INSERT INTO foreign_to_us SELECT generate_series(1, 5000000)")
    pair.source.sql("UPDATE t SET v = 'behind it'")
    poll_until(lambda: pair.target.one("SELECT v FROM t") == "behind it", "what is behind it arrives", 90)
    assert TIMED_OUT not in pair.source.server.log()
    assert pair.source.slot(job.slot)[2] == pid and job.status()["totals"]["retries"] == 0, job.process.err


@pytest.mark.deadline(180)
def test_server_that_times_out_again_is_asked_for_more_time(make_pair):
    """F18, L15: a session that comes nowhere within the server's patience would come nowhere for ever."""
    pair = make_pair(source={"wal_sender_timeout": "1s"})
    pair.source.sql("CREATE TABLE s (id int PRIMARY KEY, v text)")
    job = pair.running_job(source={"heartbeat": "0"})
    assert job.process.terminate() == 0
    # Too much for one second of reading, and every status comes later than the server waits for it.
    pair.source.sql("INSERT INTO s SELECT i, repeat(md5(i::text), 64) FROM generate_series(1, 40000) i")
    job.start(fault="source.before_feedback:sleep:2500")
    poll_until(lambda: TIMED_OUT in pair.source.server.log(), "the server loses its patience")
    poll_until(lambda: "sets wal_sender_timeout to 300 s" in job.process.err, "we notice")
    poll_until(lambda: pair.target.one("SELECT count(*) FROM s") == 40000, "the next session comes through", 60)
    assert pair.source.server.log().count(TIMED_OUT) == 1
    pair.wait_equal()


@pytest.mark.deadline(180)
def test_slot_is_not_made_while_a_transaction_is_open_and_a_kill_leaves_nothing(pair):
    """F19: who, since when; after kill -9 the server itself takes the half-made slot back, at once."""
    pair.source.sql(TABLE)
    holder = pair.source.connect(autocommit=False)
    cursor = holder.cursor()
    cursor.execute("INSERT INTO t VALUES (2, 'open'); SELECT pg_backend_pid()")
    pid = cursor.fetchone()[0]
    time.sleep(1.1)  # so that it has an age
    job = pair.job()
    process = job.start()
    poll_until(lambda: f"waiting for PID {pid} " in process.err, "the PID is named")
    poll_until(lambda: "idle in transaction, open for " in process.err, "and its age")
    assert pair.source.slot(job.slot), "it is in the making"
    process.kill9()
    poll_until(lambda: pair.source.slot(job.slot) is None, "no slot is left while the transaction is still open", 10)
    holder.rollback()
    holder.close()


def test_slot_waits_for_a_prepared_transaction_by_its_name(make_pair):
    """F19, F50: there is no process whose PID could be told."""
    pair = make_pair(source={"max_prepared_transactions": 4})
    pair.source.sql(TABLE)
    pair.source.sql("BEGIN; INSERT INTO t VALUES (2, 'open'); PREPARE TRANSACTION 'forgotten'")
    job = pair.job()
    process = job.start()
    poll_until(lambda: 'waiting for prepared transaction "forgotten" (user "postgres", open for' in process.err,
               "its name is told")
    pair.source.sql("COMMIT PREPARED 'forgotten'")
    job.wait_for("running")
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM t") == 2


def occupied(pair, most):
    """Every connection of the server is taken."""
    taken = []
    with pytest.raises(psycopg2.OperationalError, match="too many clients"):
        while len(taken) <= most:
            taken.append(pair.source.connect())
    return taken


def reconnect_forced(pair, job):
    pair.source.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s",
                    (job.slot,))


def reason(job, word):
    return poll_until(lambda: word in (job.status()["reason"] or "") and job.status()["state"] == "retrying",
                      f"the state says {word!r}")


def test_no_free_connection_is_waited_for(make_pair):
    """F20: the only one of the three that passes by itself."""
    pair = make_pair(source={"max_connections": 14, "max_wal_senders": 3, "superuser_reserved_connections": 1})
    pair.source.sql(TABLE)
    taken = occupied(pair, 14)
    job = pair.job()
    done = job.run("--wait", "1s")
    assert done.exit == 6 and "too many clients" in done.err and "max_connections" in done.err, done.err
    for connection in taken:
        connection.close()
    job.start()
    job.wait_for("running")
    keeper = pair.source.connect()
    taken = occupied(pair, 14)
    pid = pair_pids(keeper, job)
    for one in pid:
        keeper.cursor().execute("SELECT pg_terminate_backend(%s)", (one,))
        taken.append(poll_until(lambda: connected(pair), "somebody was faster", every=0.001))
    reason(job, "too many clients")
    for connection in taken:
        connection.close()
    keeper.close()
    job.wait_for("running")
    pair.source.sql("INSERT INTO t VALUES (2, 'after')")
    pair.wait_equal()


def connected(pair):
    try:
        return pair.source.connect()
    except psycopg2.OperationalError:
        return None


def pair_pids(connection, job):
    """The job's plain sessions on the source."""
    cursor = connection.cursor()
    cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s AND backend_type = 'client backend'",
                   (f"walferry_{job.name}",))
    return [row[0] for row in cursor.fetchall()]


def walsender(pair):
    try:
        return psycopg2.connect(pair.source.dsn(), connection_factory=psycopg2.extras.PhysicalReplicationConnection)
    except psycopg2.OperationalError:
        return None


def test_no_free_walsender(make_pair):
    """F20: told by its setting; a job that runs already waits for one, because a base backup ends."""
    pair = make_pair(source={"max_wal_senders": 2})
    pair.source.sql(TABLE)
    others = [walsender(pair)]
    job = pair.job()
    done = job.run()
    assert done.exit == 2 and "max_wal_senders" in done.err and "max_replication_slots" not in done.err, done.err
    others.pop().close()
    job.start()
    job.wait_for("running")
    others = [walsender(pair)]
    reconnect_forced(pair, job)
    others.append(poll_until(lambda: walsender(pair), "somebody was faster", every=0.001))
    reason(job, "max_wal_senders")
    for other in others:
        other.close()
    job.wait_for("running")
    pair.source.sql("INSERT INTO t VALUES (2, 'after')")
    pair.wait_equal()


def test_server_with_a_slot_does_not_start_below_logical(make_pair):
    """F21: and where somebody dropped the slot for that, the job says what is missing."""
    pair = make_pair()
    server = pair.source.server
    pair.source.sql(TABLE)
    job = pair.running_job()
    server.stop()
    server.configure({"wal_level": "replica"})
    with pytest.raises(AssertionError, match="wal_level"):
        server.start()
    server.process = None
    assert job.process.alive(), "it waits for its source"
    server.configure({"wal_level": "logical"})
    server.start()
    job.wait_for("running")
    assert job.process.terminate() == 0
    pair.source.sql("SELECT pg_drop_replication_slot(%s)", (job.slot,))
    server.stop()
    server.configure({"wal_level": "replica"})
    server.start()
    done = job.run()
    assert done.exit == 2 and "wal_level" in done.err and "hint:" in done.err, done.err


LOST_RIGHTS = {
    "password": "ALTER ROLE locked PASSWORD 'another'",
    "login": "ALTER ROLE locked NOLOGIN",
    "replication": "ALTER ROLE locked NOREPLICATION",
    "connect": "REVOKE CONNECT ON DATABASE {0} FROM PUBLIC; ALTER DATABASE {0} OWNER TO postgres;"
               "REVOKE ALL ON DATABASE {0} FROM locked",
    "pg_hba": None,
}


def limited_job(pair, **config):
    """A job whose role owns its tables and has no right more than it needs."""
    pair.source.sql("CREATE ROLE locked LOGIN REPLICATION PASSWORD 'right'")
    pair.source.sql(f"ALTER DATABASE {pair.name} OWNER TO locked")
    pair.source.sql("SET ROLE locked; " + TABLE + "; CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1)")
    return pair.job(source_dsn=pair.source.dsn(user="locked", password="right"), **config)


def ends_with_2(process, *words):
    begin = time.monotonic()
    assert process.wait(15) == 2, process.err
    assert time.monotonic() - begin < 10
    for word in (*words, "hint:"):
        assert word in process.err, process.err


@pytest.mark.parametrize("right", LOST_RIGHTS)
def test_login_is_lost_while_running(make_pair, right):
    """F22: what no retry mends ends the job, with the next connection."""
    pair = make_pair()
    job = limited_job(pair)
    job.start()
    job.wait_for("running")
    server = pair.source.server
    if LOST_RIGHTS[right]:
        server.sql(LOST_RIGHTS[right].format(pair.name))
    else:
        hba = server.data / "pg_hba.conf"
        hba.write_text(hba.read_text().replace("host all locked 127.0.0.1/32 scram-sha-256",
                                               "host all locked 127.0.0.1/32 reject"))
        server.reload()
    reconnect_forced(pair, job)
    ends_with_2(job.process, "source.dsn")


RIGHTS_OF_THE_BEAT = {
    "table": "ALTER TABLE dts_postgres_heartbeat OWNER TO postgres",
    "schema": "ALTER SCHEMA public OWNER TO postgres; REVOKE ALL ON SCHEMA public FROM PUBLIC, locked",
}


@pytest.mark.parametrize("right", RIGHTS_OF_THE_BEAT)
def test_rights_of_the_heartbeat_are_lost_while_running(make_pair, right):
    """F22: without the beat nobody would know the lag."""
    pair = make_pair()
    job = limited_job(pair)
    job.start()
    job.wait_for("running")
    pair.source.sql(RIGHTS_OF_THE_BEAT[right])
    ends_with_2(job.process, "permission denied")


@pytest.mark.parametrize("right", ["ALTER TABLE u OWNER TO postgres", RIGHTS_OF_THE_BEAT["schema"]],
                         ids=["SELECT", "USAGE"])
@pytest.mark.parametrize("point", ["snapshot.after_export", "snapshot.mid_table"])
def test_rights_of_a_table_are_lost_during_the_load(make_pair, point, right):
    """F22: pg_dump, then COPY."""
    pair = make_pair()
    job = limited_job(pair, load={"workers": 1})
    process = job.start(fault=f"{point}:sleep:1000@1")
    process.wait_reached(point)
    pair.source.sql(right)
    ends_with_2(process, "permission denied")
