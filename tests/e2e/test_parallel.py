"""Sets on several connections (trap B2): commits in the order of the source, whatever the runs do to each other."""
import os
import threading

import pytest

from harness.poll import poll_until

SMALL = "runs.small:fail"  # runs of a few changes, so that many are on their way
AGAIN = "that was sent before its turn is sent again"


def several(workers=4, **target):
    return {"target": {"gear": "catch-up", "workers": workers} | target, "log": {"level": "debug"}}


def behind(pair, job, work):
    """What the job finds when it starts again."""
    job.process.terminate()
    connection = pair.source.connect()
    for statement in work:
        connection.cursor().execute(statement)
    connection.close()


def finish(pair, job, **options):
    job.start(fault=SMALL, **options)
    job.wait_for("running")
    pair.wait_equal()
    assert job.process.alive() and job.status()["totals"]["retries"] == 0, job.process.err


@pytest.mark.asan
def test_bank_is_exact_under_kills(make_pair):
    pair = make_pair(source={"logical_decoding_work_mem": "64kB"})
    bank = pair.bank(ballast_tables=1, ballast_rows=2000, keyed=True).start()
    job = pair.running_job(fault=SMALL, **several())
    watcher = pair.watcher(bank, job)
    watcher.watch()
    for point in ("runs.sent_early:kill@10", "apply.before_commit:kill@20", "apply.after_commit:kill@20",
                  "runs.sent_early:kill@25", "ledger.after_durable:kill@30"):
        job.process.kill9()
        bank.writers[1].ask_large(3000, 40)
        job.start(fault=f"{point},{SMALL}").wait(60)
        assert job.process.reached(point.split(":")[0])
        bank.check_prefix(pair.target)
    job.start(fault=SMALL)
    job.wait_for("running")
    assert job.status()["workers"] == 4
    bank.pause_writers()
    job.drain(pair.source)
    pair.check_equal()
    watcher.check()


def test_every_prefix_is_one_of_the_source(pair):
    """Whoever looks at the destination meanwhile sees commits of the source, in their order."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 40) i;"
                    " CREATE TABLE last (id int PRIMARY KEY, n int); INSERT INTO last VALUES (1, 0)")
    job = pair.running_job(**several())
    behind(pair, job, [f"BEGIN; UPDATE t SET n = {n} WHERE id = {n % 40 + 1}; UPDATE last SET n = {n}; COMMIT"
                       for n in range(1, 2001)])
    seen, wrong, over = set(), [], threading.Event()

    def watch():
        while not over.is_set():
            n, rows = pair.target.sql("SELECT (SELECT n FROM last), (SELECT array_agg(n ORDER BY id) FROM t)")[0]
            expected = [max((i for i in range(max(n - 39, 1), n + 1) if i % 40 == at), default=0) for at in range(40)]
            seen.add(n)
            if rows != expected:
                wrong.append((n, rows))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        finish(pair, job)
    finally:
        over.set()
        watcher.join()
    assert not wrong, wrong[:2]
    assert len(seen) > 3, seen


def test_unique_values_change_owners_behind_the_streams_back(pair):
    """With DEFAULT identity the stream has no unique value of a row that goes (trap B2)."""
    pair.source.sql("CREATE TABLE u (id int PRIMARY KEY, u int UNIQUE, v text); CREATE TABLE o (id int PRIMARY KEY, v text);"
                    " INSERT INTO u SELECT i, i, 'first' FROM generate_series(1, 10) i;"
                    " INSERT INTO o SELECT i, '' FROM generate_series(1, 40) i")
    job = pair.running_job(**several())
    work = []
    for n in range(1, 400):
        work += [f"INSERT INTO u VALUES ({100000 + n}, {5000 + n}, 'beside')",
                 f"DELETE FROM u WHERE u = {n % 10 + 1}", f"UPDATE o SET v = 'v{n}' WHERE id <= 20",
                 f"INSERT INTO u VALUES ({200000 + n}, {n % 10 + 1}, 'took it {n}')",
                 f"UPDATE o SET v = 'w{n}' WHERE id > 20"]
    behind(pair, job, work)
    finish(pair, job)
    assert AGAIN in job.process.err


def test_an_exclusion_constraint(pair):
    pair.source.sql("CREATE TABLE r (id int PRIMARY KEY, span int4range, EXCLUDE USING gist (span WITH &&));"
                    " CREATE TABLE o (id int PRIMARY KEY, v text); INSERT INTO o SELECT i, '' FROM generate_series(1, 20) i;"
                    " INSERT INTO r SELECT i, int4range(i * 10, i * 10 + 10) FROM generate_series(1, 20) i")
    job = pair.running_job(**several())
    work = []
    for n in range(300):
        work += [f"UPDATE r SET span = 'empty' WHERE id = {n % 20 + 1}", f"UPDATE o SET v = 'v{n}'",
                 f"UPDATE r SET span = int4range({n % 20 + 1} * 10 + {n % 5}, {n % 20 + 1} * 10 + 10) WHERE id = {n % 20 + 1}",
                 f"DELETE FROM r WHERE id = {n + 21 if n > 0 else 0}",
                 f"INSERT INTO r VALUES ({n + 22}, int4range(1000 + {n} % 3, 1003))",]
    behind(pair, job, work)
    finish(pair, job)


def test_foreign_keys_that_are_in_force(pair):
    """An account whose work foreign keys see: children before their parents are found out, and wait."""
    pair.source.sql("CREATE TABLE p (id int PRIMARY KEY, v text); CREATE TABLE o (id int PRIMARY KEY, v text);"
                    " CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p);"
                    " INSERT INTO o SELECT i, '' FROM generate_series(1, 40) i; INSERT INTO p VALUES (0, ''); INSERT INTO c VALUES (0, 0)")
    user = f"plain_{pair.name}"
    pair.target.sql(f'CREATE ROLE {user} LOGIN; ALTER DATABASE "{pair.name}" OWNER TO {user}')
    job = pair.job(target_dsn=pair.target.dsn(user=user), **several())
    job.start()
    job.wait_for("running")
    if not pair.target.one("SELECT count(*) FROM pg_constraint WHERE contype = 'f'"):
        pair.target.sql("ALTER TABLE c ADD FOREIGN KEY (p) REFERENCES p")
    work = []
    for n in range(1, 300):
        work += [f"INSERT INTO p VALUES ({n}, 'p')", f"UPDATE o SET v = 'v{n}' WHERE id <= 20",
                 f"INSERT INTO c VALUES ({n}, {n})", f"UPDATE o SET v = 'w{n}' WHERE id > 20"]
        if n % 3 == 0:
            work += [f"DELETE FROM c WHERE id = {n - 1}", f"UPDATE o SET v = 'x{n}' WHERE id < 20",
                     f"DELETE FROM p WHERE id = {n - 1}"]
    behind(pair, job, work)
    finish(pair, job)
    assert AGAIN in job.process.err


def test_a_lost_connection_is_a_lost_session(pair):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 200) i")
    job = pair.running_job(**several())
    behind(pair, job, [f"UPDATE t SET n = n + 1 WHERE id = {n % 200 + 1}" for n in range(3000)])
    process = job.start(fault=f"{SMALL},runs.sent_early:sleep:1500@30")
    process.wait_reached("runs.sent_early")
    assert pair.target.one("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s"
                           " AND backend_xid IS NOT NULL AND datname = current_database()", (f"walferry_{job.name}",)) >= 1
    pair.wait_equal()
    assert process.alive() and job.status()["totals"]["retries"] >= 1


def test_a_refused_run_stops_before_its_transaction(pair):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, '' FROM generate_series(1, 400) i")
    job = pair.running_job(**several())
    pair.target.sql("DELETE FROM t WHERE id = 200")
    behind(pair, job, [f"UPDATE t SET v = 'done' WHERE id = {n}" for n in range(1, 401)])
    done = job.run(fault=SMALL)
    assert done.exit == 5 and 'update of "public.t" (id=200)' in done.err, done.err
    assert pair.target.one("SELECT count(*) FROM t WHERE v = 'done'") == 199
    assert pair.target.one("SELECT max(id) FROM t WHERE v = 'done'") == 199
    pair.target.sql("INSERT INTO t VALUES (200, '')")
    finish(pair, job)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_the_number_adapts_and_is_shown(pair):
    """Every row costs the destination a pause, which several connections share."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 400) i")
    job = pair.running_job(**several("auto"))
    assert job.status()["workers"] in (1, None)  # nothing was applied yet
    pair.target.sql("CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
                    " $$ BEGIN PERFORM pg_sleep(0.002); RETURN n; END $$; CREATE INDEX ON t (slow(n)) WHERE n > 0")
    behind(pair, job, [f"UPDATE t SET n = n + 1 WHERE id = {n % 400 + 1}" for n in range(8000)])
    job.start(fault=SMALL)
    poll_until(lambda: (job.status()["workers"] or 0) > 1, "one more is tried", 60, every=0.05)
    poll_until(lambda: "changes are applied on 2 connections" in job.process.err, "said so", 10)
    pair.wait_equal(timeout=90)
    assert "changes are applied on 1 connections" not in job.process.err
    assert job.process.alive()
