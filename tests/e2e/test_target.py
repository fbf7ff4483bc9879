"""The destination misbehaves while changes are applied: it dies, is read-only, full, locked, or refuses us."""
import os
import subprocess

import psycopg2
import pytest

from harness.poll import poll_until, poll_while

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 10) i"
PLAIN = "CREATE TABLE plain (n int); ALTER TABLE plain REPLICA IDENTITY FULL; INSERT INTO plain VALUES (0)"


def loader(pair):
    """A role that is no superuser, as migrations should run; returns its name and the job's DSN."""
    role = f"loader_{pair.name}"
    pair.target.server.sql(f'CREATE ROLE {role} LOGIN; GRANT SET ON PARAMETER session_replication_role TO {role};'
                           f' GRANT ALL ON DATABASE "{pair.name}" TO {role}')
    pair.target.sql(f"GRANT ALL ON SCHEMA public TO {role}")
    return role, pair.target.dsn(user=role)


def reason(job, word, timeout=30):
    """Until `status` says that it is retrying, and why."""
    def said():
        status = job.status()
        return status["state"] == "retrying" and word in (status["reason"] or "")
    poll_until(said, f"status gives the reason: {word}", timeout, every=0.1)


def waits_for_lock(pair):
    """The pid of our session that waits for a lock at the target."""
    return poll_until(lambda: pair.target.one(
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = %s",
        (f"walferry_{pair.name}",)),
        "the sink waits for a lock")


@pytest.mark.asan
def test_target_dies_in_every_way_under_load_and_nothing_comes_twice(make_pair):
    """F79, F80: the table without a key would show a second time, the bank a torn one, the watcher a lost one."""
    pair = make_pair(target={"fsync": "on"})
    pair.source.sql(PLAIN)
    bank = pair.bank(pause=0.005).start()
    job = pair.running_job()
    watcher = pair.watcher(bank, job)
    watcher.watch()
    for number, die in enumerate(("kill9", "immediate", "fast", "kill9")):
        before = bank.transactions()
        pair.source.sql("INSERT INTO plain SELECT %s * 1000 + i FROM generate_series(1, 500) i", (number + 1,))
        poll_until(lambda: bank.transactions() > before + 60, "traffic")
        if die == "kill9":
            pair.target.server.kill9()
        else:
            pair.target.server.stop(die)
        poll_until(lambda: job.status()["state"] == "retrying", "it is noticed")
        pair.target.server.start()
        bank.check_prefix(pair.target)
        poll_until(lambda: job.status()["state"] == "running", "it goes on", 30)
    assert job.status()["totals"]["retries"] >= 4
    bank.pause_writers()
    pair.wait_equal()
    watcher.check()
    assert pair.target.one("SELECT count(*) FROM plain") == 1 + 4 * 500


def test_target_that_becomes_a_standby_is_waited_for(make_pair):
    """F83: 25006 passes by itself once somebody promotes it; until then `status` says what is wrong."""
    pair = make_pair()
    pair.source.sql(TABLE)
    job = pair.running_job()
    server = pair.target.server
    server.stop()
    signal_file = server.data / "standby.signal"
    signal_file.touch()
    server.start()
    pair.source.sql("UPDATE t SET v = 'meanwhile'")
    reason(job, "read-only transaction")
    assert pair.target.sql("SELECT DISTINCT v FROM t") == [("x",)]
    server.sql("SELECT pg_promote()")
    pair.wait_equal()
    assert job.process.alive()


def test_a_new_run_refuses_a_standby_with_a_sentence(make_pair):
    pair = make_pair()
    pair.source.sql(TABLE)
    pair.target.server.stop()
    (pair.target.server.data / "standby.signal").touch()
    pair.target.server.start()
    done = pair.job().run()
    assert done.exit == 2
    assert "hot standby" in done.err and "hint:" in done.err
    assert pair.source.server.slots() == set()


HOSTILE = """
ALTER {0} SET statement_timeout = '300ms'; ALTER {0} SET lock_timeout = '300ms';
ALTER {0} SET idle_in_transaction_session_timeout = '300ms'; ALTER {0} SET idle_session_timeout = '500ms';
ALTER {0} SET default_transaction_read_only = on; ALTER {0} SET default_transaction_isolation = 'serializable';
ALTER {0} SET default_transaction_deferrable = on; ALTER {0} SET DateStyle = 'German';
ALTER {0} SET standard_conforming_strings = off; ALTER {0} SET search_path = 'nowhere';
ALTER {0} SET client_min_messages = 'error'; ALTER {0} SET check_function_bodies = on;
ALTER {0} SET row_security = on; ALTER {0} SET jit = on; ALTER {0} SET lc_messages = 'C'"""


def test_settings_of_role_and_database_do_not_reach_our_sessions(pair):
    """C5, F83: also a database that was set read-only by default, from the load on and when it comes back."""
    pair.source.sql(TABLE + "; CREATE TABLE day (d date PRIMARY KEY, v text); INSERT INTO day VALUES ('2024-02-03', $$a\\'$$)")
    role, dsn = loader(pair)
    pair.target.server.sql(HOSTILE.format(f'DATABASE "{pair.name}"'))
    pair.target.server.sql(HOSTILE.format(f'ROLE {role} IN DATABASE "{pair.name}"'))
    job = pair.running_job(target_dsn=dsn)
    holder = pair.target.connect(autocommit=False)
    holder.cursor().execute("SET TRANSACTION READ WRITE; SET lock_timeout = 0; SET statement_timeout = 0;"
                            " SET idle_in_transaction_session_timeout = 0; LOCK TABLE public.t")
    pair.source.sql("UPDATE t SET v = 'waits'; INSERT INTO day VALUES ('2024-03-02', $$it's \\ here$$)")
    pid = waits_for_lock(pair)
    poll_while(lambda: waits_for_lock(pair) == pid, "the same session waits longer than all timeouts", 1)
    holder.rollback()
    holder.close()
    pair.wait_equal()
    assert job.status()["totals"]["retries"] == 0
    pair.target.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,))
    pair.source.sql("UPDATE t SET v = 'again'; UPDATE day SET v = v || v")
    pair.wait_equal()


@pytest.fixture
def small_disk(place):
    """A tmpfs of 8 MiB that the server may write to."""
    folder = place.folder(f"disk{os.urandom(3).hex()}", for_server=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=8m,uid={folder.stat().st_uid},gid={folder.stat().st_gid}", "none", folder], capture_output=True)
    assert mounted.returncode == 0, mounted.stderr
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_target_disk_full_is_waited_for(make_pair, small_disk):
    """F83: 53100 says so in `status`; when there is room again it goes on without a human."""
    pair = make_pair()
    pair.source.sql(TABLE)
    pair.target.server.sql(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    job = pair.running_job()
    pair.target.sql("ALTER TABLE t SET TABLESPACE small")
    pair.source.sql("INSERT INTO t SELECT i, repeat(md5(i::text), 30) FROM generate_series(100, 12000) i")
    last = pair.source.lsn()
    reason(job, "No space left on device")
    assert pair.target.one("SELECT count(*) FROM t") == 10, "nothing of the transaction is there"
    assert pair.source.slot(job.slot)[0] < last
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    pair.wait_equal(timeout=45)
    assert job.process.alive()


def test_lock_of_another_session_is_waited_for_and_named(pair):
    """F81: for as long as it takes; `status` says for whom, and nothing is tried again in vain."""
    pair.source.sql(TABLE)
    job = pair.running_job()
    holder = pair.target.connect(autocommit=False)
    holder.cursor().execute("SET application_name = 'report'; SELECT FROM t WHERE id = 3 FOR UPDATE")
    pair.source.sql("UPDATE t SET v = 'y'")
    waits_for_lock(pair)
    said = poll_until(lambda: job.status()["reason"], "status says why it waits", 20, every=0.1)
    assert f"{holder.info.backend_pid}" in said and "report" in said and "lock" in said, said
    assert job.status()["state"] == "running"
    holder.rollback()
    holder.close()
    pair.wait_equal()
    poll_until(lambda: not job.status()["reason"], "the reason goes with its cause", 10)
    assert job.status()["totals"]["retries"] == 0
    assert job.process.err.count("waits for a lock") == 1, "said once"


def test_deadlock_with_another_session_is_tried_again(make_pair):
    """F81: we are the victim (40P01); the whole transaction comes again, once the other has committed."""
    pair = make_pair(target={"deadlock_timeout": "3s"})
    pair.source.sql(TABLE + "; " + PLAIN)
    job = pair.running_job()
    other = pair.target.connect(autocommit=False)
    cursor = other.cursor()
    cursor.execute("SET deadlock_timeout = '1h'; SELECT FROM t WHERE id = 2 FOR UPDATE")
    pair.source.sql("BEGIN; INSERT INTO plain VALUES (1); UPDATE t SET v = 'one' WHERE id = 1;"
                    " UPDATE t SET v = 'two' WHERE id = 2; COMMIT")
    waits_for_lock(pair)
    cursor.execute("SELECT FROM t WHERE id = 1 FOR UPDATE")  # returns when our session was the one that gave way
    assert "deadlock detected" in pair.target.server.log()
    reason(job, "deadlock")
    other.commit()
    other.close()
    pair.wait_equal()
    assert job.status()["totals"]["retries"] >= 1
    assert pair.target.one("SELECT count(*) FROM plain") == 2


FICKLE = """
CREATE SEQUENCE tries;
CREATE FUNCTION fickle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('public.tries') <= 3 THEN RAISE serialization_failure; END IF; RETURN NEW; END $$;
CREATE TRIGGER fickle BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fickle();
ALTER TABLE t ENABLE ALWAYS TRIGGER fickle"""


def test_serialization_failure_is_tried_again(pair):
    """F81."""
    pair.source.sql(TABLE + "; " + PLAIN)
    job = pair.running_job()
    pair.target.sql(FICKLE)
    pair.source.sql("BEGIN; INSERT INTO plain VALUES (1); UPDATE t SET v = 'y' WHERE id = 1; COMMIT")
    pair.wait_equal()
    assert job.status()["totals"]["retries"] == 3
    assert pair.target.one("SELECT count(*) FROM plain") == 2


RIGHTS = {
    "INSERT": ("REVOKE INSERT ON t FROM {0}", "GRANT INSERT ON t TO {0}", "INSERT INTO t VALUES (11, 'new')"),
    "UPDATE": ("REVOKE UPDATE ON t FROM {0}", "GRANT UPDATE ON t TO {0}", "UPDATE t SET v = 'new'"),
    "DELETE": ("REVOKE DELETE ON t FROM {0}", "GRANT DELETE ON t TO {0}", "DELETE FROM t WHERE id = 1"),
    "TRUNCATE": ("REVOKE TRUNCATE ON t FROM {0}", "GRANT TRUNCATE ON t TO {0}", "TRUNCATE t"),
    "USAGE": ("REVOKE ALL ON SCHEMA public FROM {0}, PUBLIC", "GRANT ALL ON SCHEMA public TO {0}", "UPDATE t SET v = 'new'"),
}


@pytest.mark.parametrize("right", RIGHTS)
def test_right_taken_away_while_running_ends_with_2_and_names_the_table(pair, right):
    """F84: waiting would not help; after the GRANT a new start goes on."""
    revoke, grant, change = RIGHTS[right]
    pair.source.sql(TABLE + "; " + PLAIN)
    role, dsn = loader(pair)
    job = pair.running_job(target_dsn=dsn)
    pair.target.sql(revoke.format(role))
    pair.source.sql(f"BEGIN; INSERT INTO plain VALUES (1); {change}; COMMIT")
    assert job.process.wait(30) == 2, job.process.err
    last = job.process.err.rstrip().splitlines()[-2:]
    assert "permission denied" in last[0] and '"public.' in last[0], last
    assert "hint:" in last[1], last
    assert pair.target.one("SELECT count(*) FROM plain") == 1, "nothing of the transaction is there"
    pair.target.sql(grant.format(role))
    job.start()
    pair.wait_equal()


def test_right_on_the_state_taken_away_ends_with_2(pair):
    pair.source.sql(TABLE)
    role, dsn = loader(pair)
    job = pair.running_job(target_dsn=dsn)
    pair.target.sql(f"REVOKE INSERT ON walferry.progress FROM {role}")
    assert job.process.wait(30) == 2, job.process.err
    assert "permission denied for table progress" in job.process.err
    pair.target.sql(f"GRANT INSERT ON walferry.progress TO {role}")
    pair.source.sql("UPDATE t SET v = 'y'")
    job.start()
    pair.wait_equal()


def test_state_schema_that_may_not_be_made_ends_with_2_before_anything_is_made(pair):
    pair.source.sql(TABLE)
    role, dsn = loader(pair)
    pair.target.server.sql(f'REVOKE CREATE ON DATABASE "{pair.name}" FROM {role}')
    done = pair.job(target_dsn=dsn).run()
    assert done.exit == 2
    assert "GRANT CREATE ON DATABASE" in done.err
    assert pair.source.server.slots() == set()


MOVED = {
    "table renamed": ("ALTER TABLE t RENAME TO gone", "ALTER TABLE gone RENAME TO t"),
    "column renamed": ("ALTER TABLE t RENAME v TO w", "ALTER TABLE t RENAME w TO v"),
    "column dropped": ("ALTER TABLE t DROP v", "ALTER TABLE t ADD v text DEFAULT 'x'"),
    "column narrowed": ("ALTER TABLE t ALTER v TYPE varchar(3)", "ALTER TABLE t ALTER v TYPE text"),
    "column retyped": ("ALTER TABLE t ALTER v TYPE int USING 0", "ALTER TABLE t ALTER v TYPE text USING 'x'"),
    "not null added": ("ALTER TABLE t ADD w int NOT NULL DEFAULT 1; ALTER TABLE t ALTER w DROP DEFAULT",
                       "ALTER TABLE t DROP w"),
    "schema renamed": ("ALTER SCHEMA public RENAME TO elsewhere", "ALTER SCHEMA elsewhere RENAME TO public"),
}


@pytest.mark.parametrize("what", MOVED)
def test_table_changed_at_the_target_ends_with_5_and_names_it(pair, what):
    """F82: its statements were prepared before the change. Mended, a new start goes on from there."""
    change, back = MOVED[what]
    pair.source.sql(TABLE + "; CREATE SCHEMA other; CREATE TABLE other.u (n int); ALTER TABLE other.u REPLICA IDENTITY FULL")
    job = pair.running_job()
    pair.source.sql("INSERT INTO t VALUES (11, 'x')")
    pair.wait_equal()
    pair.target.sql(change)
    pair.source.sql("BEGIN; INSERT INTO other.u VALUES (1); INSERT INTO t VALUES (12, 'larger'); COMMIT")
    assert job.process.wait(30) == 5, job.process.err
    last = job.process.err.rstrip().splitlines()[-2:]
    assert '"public.t"' in last[0] and "hint:" in last[1], last
    assert pair.target.sql("SELECT FROM other.u") == [], "nothing of the transaction is there"
    pair.target.sql(back)
    job.start()
    pair.wait_equal()


def test_table_dropped_at_the_target_ends_with_5_and_names_it(pair):
    """F82."""
    pair.source.sql(TABLE)
    job = pair.running_job()
    pair.target.sql("DROP TABLE t")
    pair.source.sql("UPDATE t SET v = 'y' WHERE id = 1")
    assert job.process.wait(30) == 5, job.process.err
    assert '"public.t"' in job.process.err


SWALLOW = "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
EATERS = {
    "trigger": SWALLOW + "CREATE TRIGGER eater BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION swallow();"
                         "ALTER TABLE t {} TRIGGER eater",
    "rule on insert": "CREATE RULE eater AS ON INSERT TO t DO INSTEAD NOTHING; ALTER TABLE t {} RULE eater",
    "rule on update": "CREATE RULE eater AS ON UPDATE TO t DO INSTEAD NOTHING; ALTER TABLE t {} RULE eater",
}


@pytest.mark.parametrize("eater", EATERS)
def test_trigger_or_rule_at_the_target_that_takes_a_row_away(pair, eater):
    """F84: an ordinary one keeps still; one that is enabled always is noticed and ends with 5."""
    pair.source.sql(TABLE)
    job = pair.running_job()
    pair.target.sql(EATERS[eater].format("ENABLE"))
    change = "UPDATE t SET v = 'y' WHERE id = 1" if "update" in eater else "INSERT INTO t VALUES (11, 'x')"
    pair.source.sql(change)
    pair.wait_equal()
    pair.target.sql(EATERS[eater].rpartition(";")[2].format("ENABLE ALWAYS"))
    pair.source.sql(change.replace("11", "12").replace("id = 1", "id = 2"))
    assert job.process.wait(30) == 5, job.process.err
    assert '"public.t"' in job.process.err and "trigger or rule" in job.process.err
    pair.target.sql(EATERS[eater].rpartition(";")[2].format("DISABLE"))
    job.start()
    pair.wait_equal()


def test_no_session_left_at_the_target_is_waited_for(pair):
    """F83: 53300."""
    pair.source.sql(TABLE)
    role, dsn = loader(pair)
    job = pair.running_job(target_dsn=dsn)
    pair.target.server.sql(f"ALTER ROLE {role} CONNECTION LIMIT 1")
    pair.target.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,))
    guest = poll_until(lambda: psycopg2.connect(pair.target.dsn(user=role)), "somebody else takes the only session",
                       forgiving=(psycopg2.OperationalError,), every=0.01)
    reason(job, "too many connections")
    pair.source.sql("UPDATE t SET v = 'y'")
    guest.close()
    pair.target.server.sql(f"ALTER ROLE {role} CONNECTION LIMIT -1")
    pair.wait_equal()
    assert job.process.alive()


def test_target_comes_back_with_other_settings(make_pair):
    """F79: what the sessions learned of the server before does not hold any more."""
    pair = make_pair()
    pair.source.sql(TABLE)
    bank = pair.bank(pause=0.01).start()
    job = pair.running_job()
    for settings in ({"synchronous_commit": "off", "wal_writer_delay": "5s", "default_transaction_read_only": "on"},
                     {"standard_conforming_strings": "off", "DateStyle": "SQL, DMY", "max_connections": "30",
                      "bytea_output": "escape", "idle_session_timeout": "300ms"},
                     {"statement_timeout": "50ms", "transaction_isolation": None, "session_replication_role": "local"}):
        pair.target.server.configure({key: value for key, value in settings.items() if value})
        before = bank.transactions()
        pair.target.server.restart("immediate")
        poll_until(lambda: bank.transactions() > before + 60, "traffic")
        bank.check_prefix(pair.target)
    bank.pause_writers()
    pair.wait_equal()
    assert job.process.alive()
