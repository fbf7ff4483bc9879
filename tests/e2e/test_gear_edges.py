"""Sets of net rows where they are easily wrong: what is left over when a run is refused, keys that are alike, destinations
that have been made otherwise, connections that wait or break in the middle of a set."""
import pytest

from harness.poll import poll_until

SETS = {"target": {"gear": "catch-up"}}


def one_by_one(job):
    """How often sets were refused."""
    return job.process.err.count("was refused, applying")


def test_nothing_is_left_over_of_a_run_that_is_refused_before_all_of_it_was_sent(pair):
    """The first COPY is refused when the second has yet to begin. All rows are applied one by one, and not again."""
    pair.source.sql("CREATE TABLE log (n int, v text); ALTER TABLE log REPLICA IDENTITY FULL; CREATE TABLE t (id int PRIMARY KEY, n bigint)")
    job = pair.running_job(log={"level": "debug"}, **SETS)
    work = ("BEGIN; INSERT INTO log SELECT i, 'run {0}' FROM generate_series(1, 300) i;"
            " INSERT INTO t SELECT i, i FROM generate_series({0}001, {0}300) i; COMMIT")
    pair.source.sql(work.format(1))
    pair.wait_equal()
    pair.target.sql("ALTER TABLE t ALTER n TYPE int")
    for run in (2, 3):
        pair.source.sql(work.format(run))
        poll_until(lambda: pair.target.one("SELECT count(*) FROM t") == run * 300, "the run is there")
        pair.wait_equal(only=["public.log"])
    pair.source.sql("INSERT INTO log VALUES (0, 'end')")
    pair.wait_equal(only=["public.log"])
    assert job.process.alive() and one_by_one(job) > 0, "the test needs a refusal"


def test_row_whose_only_value_was_not_sent_is_touched(pair):
    pair.source.sql("CREATE TABLE o (id int PRIMARY KEY, big text); ALTER TABLE o ALTER big SET STORAGE EXTERNAL;"
                    " INSERT INTO o SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 50) i")
    job = pair.running_job(log={"level": "debug"}, **SETS)
    pair.source.sql("UPDATE o SET big = big WHERE id <= 20")
    pair.source.sql("UPDATE o SET big = repeat('x', 5000) WHERE id = 30")
    pair.wait_equal()
    assert job.process.alive() and one_by_one(job) == 0, job.process.err
    job.process.terminate()
    pair.target.sql("DELETE FROM o WHERE id = 7")
    pair.source.sql("UPDATE o SET big = big WHERE id BETWEEN 5 AND 9")
    done = job.run()
    assert done.exit == 5 and "(id=7)" in done.err and "no such row" in done.err, done.err


def test_a_prepared_transaction_is_decided_behind_a_run_that_is_under_way(make_pair):
    pair = make_pair(source={"max_prepared_transactions": 5}, target={"max_prepared_transactions": 5})
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v int)")
    job = pair.running_job(source={"two_phase": True}, **SETS)
    pair.source.sql("BEGIN; INSERT INTO t VALUES (0, 0); PREPARE TRANSACTION 'a'")
    job.drain(pair.source)
    job.process.terminate()
    for part in range(7):
        pair.source.sql(f"INSERT INTO t SELECT i, 1 FROM generate_series({part * 3000 + 1}, {part * 3000 + 3000}) i")
    pair.source.sql("COMMIT PREPARED 'a'")
    for part in range(3):
        pair.source.sql(f"UPDATE t SET v = 2 WHERE id = {part}")
    job.start()
    job.wait_for("running")
    pair.wait_equal()
    assert job.status()["totals"]["retries"] == 0, job.process.err


PASSED = {
    "a key on the way": ("INSERT INTO t VALUES (50, 1); UPDATE t SET id = 60 WHERE id = 50", "INSERT INTO t VALUES (50, 9)"),
    "a key between two": ("UPDATE t SET id = 50 WHERE id = 1; UPDATE t SET id = 60 WHERE id = 50", "INSERT INTO t VALUES (50, 9)"),
    "a key that was left": ("UPDATE t SET id = 50 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 50", "INSERT INTO t VALUES (50, 9)"),
    "come and gone": ("INSERT INTO t VALUES (50, 1); DELETE FROM t WHERE id = 50", "INSERT INTO t VALUES (50, 9)"),
}


@pytest.mark.parametrize("way", PASSED)
@pytest.mark.parametrize("choice", ["live", "catch-up"])
def test_trap_A15_a_key_that_somebody_has_taken_is_seen_on_the_way(pair, way, choice):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) i")
    job = pair.running_job(target={"gear": choice})
    job.process.terminate()
    work, harm = PASSED[way]
    pair.target.sql(harm)
    pair.source.sql(f"BEGIN; {work}; COMMIT")
    done = job.run()
    assert done.exit == 5 and "(id=" in done.err, done.err
    assert pair.target.one("SELECT v FROM t WHERE id = 50") == 9


@pytest.mark.parametrize("choice", ["live", "catch-up"])
@pytest.mark.parametrize("work", ["UPDATE t SET v = 'new' WHERE id IN (2, 3)", "DELETE FROM t WHERE id IN (2, 3)"])
def test_two_rows_for_one_do_not_stand_in_for_none_for_another(pair, work, choice):
    """The destination has lost its key: the sum is right, the rows are not."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 9) i")
    job = pair.running_job(target={"gear": choice})
    job.process.terminate()
    pair.target.sql("ALTER TABLE t DROP CONSTRAINT t_pkey; DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (2, 'v')")
    pair.source.sql(work)
    done = job.run()
    assert done.exit == 5 and "2 rows at the target instead of one" in done.err, done.err


@pytest.mark.parametrize("choice", ["live", "catch-up"])
def test_trap_C7_a_row_that_moves_is_not_deleted_under_a_foreign_key_that_follows(pair, choice):
    """Somebody's own table at the target, and an account whose work foreign keys see."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) i")
    user = f"plain_{pair.name}"
    pair.target.sql(f'CREATE ROLE {user} LOGIN; ALTER DATABASE "{pair.name}" OWNER TO {user}')
    job = pair.job(target_dsn=pair.target.dsn(user=user), target={"gear": choice})
    job.start()
    job.wait_for("running")
    pair.target.sql("CREATE TABLE notes (t_id int REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE, n text);"
                    " INSERT INTO notes SELECT id, 'note' FROM t")
    pair.source.sql("UPDATE t SET id = id + 100 WHERE id <= 5")
    pair.wait_equal(only=["public.t"])
    assert pair.target.sql("SELECT t_id FROM notes ORDER BY 1") == [(i,) for i in (6, 7, 8, 9, 101, 102, 103, 104, 105)]


RETYPED = ["ALTER n TYPE real", "ALTER id TYPE bigint, ALTER f TYPE double precision", "ALTER n TYPE numeric"]


@pytest.mark.parametrize("change", RETYPED)
@pytest.mark.parametrize("choice", ["live", "catch-up"])
def test_trap_B3_a_column_of_another_type_there_under_a_known_plan(pair, choice, change):
    pair.source.sql("CREATE TABLE p (id int PRIMARY KEY, n int, f real, v text)")
    job = pair.running_job(target={"gear": choice})
    assert "values in binary" in job.process.err
    more = "INSERT INTO p SELECT i, i, i, 'v' FROM generate_series({0}, {1}) i"
    pair.source.sql(more.format(1, 300))
    pair.wait_equal()
    pair.target.sql(f"ALTER TABLE p {change}")
    pair.source.sql(more.format(301, 600))
    pair.source.sql("UPDATE p SET n = n + 1 WHERE id % 3 = 0")
    pair.source.sql("UPDATE p SET f = f + 1, v = 'w' WHERE id % 3 = 1")
    pair.source.sql("DELETE FROM p WHERE id % 7 = 0")
    pair.source.sql("UPDATE p SET id = id + 1000 WHERE id % 50 = 1")
    def same():
        rows = [side.sql("SELECT id::text, n::int::text, f::real::text, v FROM p ORDER BY id") for side in (pair.source, pair.target)]
        return rows[0] == rows[1]
    poll_until(lambda: same() or not job.process.alive(), "the same rows", 20)
    assert same() and job.process.alive(), job.process.err[-1500:]


def test_rows_of_1600_columns(pair):
    columns = ", ".join(f"c{i} int2" for i in range(1599))
    pair.source.sql(f"CREATE TABLE wide (id int PRIMARY KEY, {columns})")
    pair.source.sql("INSERT INTO wide (id, c7) SELECT i, i FROM generate_series(1, 20) i")
    job = pair.running_job(log={"level": "debug"}, **SETS)
    pair.source.sql("INSERT INTO wide (id, c8, c1598) SELECT i, i, 7 FROM generate_series(21, 200) i")
    pair.source.sql("BEGIN; UPDATE wide SET c9 = 9; DELETE FROM wide WHERE id = 3; UPDATE wide SET id = id + 1000 WHERE id < 10;"
                    " INSERT INTO wide VALUES (5000); COMMIT")
    pair.wait_equal()
    assert job.process.alive() and one_by_one(job) == 0, job.process.err[-1500:]


ALIKE = ("CREATE EXTENSION IF NOT EXISTS citext;"
         " CREATE COLLATION IF NOT EXISTS nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
         " CREATE DOMAIN small AS numeric CHECK (value < 100000);"
         " CREATE TABLE c (k citext PRIMARY KEY, n int);"
         " CREATE TABLE m (k numeric PRIMARY KEY, n int);"
         " CREATE TABLE d (k small, l char(5), n int, PRIMARY KEY (k, l));"
         " CREATE TABLE f (k float8 PRIMARY KEY, n int);"
         ' CREATE TABLE l (k text COLLATE nocase PRIMARY KEY, n int);'
         " CREATE TABLE x (k text COLLATE \"C\" PRIMARY KEY, n int);")
ALIKE_WORK = ("BEGIN; UPDATE c SET k = upper(k::text)::citext WHERE n % 2 = 0; UPDATE m SET k = k::numeric(9,2) WHERE n % 2 = 0;"
              " UPDATE d SET k = k::numeric(9,2), l = 'b' WHERE n % 3 = 0; UPDATE f SET k = -0.0 WHERE k = 0;"
              " UPDATE l SET k = upper(k) WHERE n % 2 = 0; UPDATE x SET k = upper(k) WHERE n % 2 = 0; COMMIT;"
              " BEGIN; DELETE FROM c WHERE k = 'K4'; INSERT INTO c VALUES ('k4', 44); UPDATE c SET n = 45 WHERE k = 'K4';"
              " DELETE FROM m WHERE k = 4; INSERT INTO m VALUES (4.000, 4); UPDATE m SET k = 4.0 WHERE k = 4; DELETE FROM m WHERE k = 6;"
              " INSERT INTO m VALUES (6.0, 6); DELETE FROM m WHERE k = 6;"
              " DELETE FROM l WHERE k = 'k4'; INSERT INTO l VALUES ('k4', 4); UPDATE l SET k = 'zz' WHERE k = 'k6'; INSERT INTO l VALUES ('k6', 7);"
              " UPDATE f SET n = n + 1; UPDATE f SET k = 0 WHERE k = 0; DELETE FROM f WHERE k = 0; INSERT INTO f VALUES ('-0', 1); COMMIT")


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("choice", ["live", "catch-up"])
def test_keys_that_are_equal_and_not_the_same(pair, choice, full):
    pair.source.sql(ALIKE)
    for table in "cmdflx":
        key = {"c": "'k' || i", "l": "'k' || i", "x": "'k' || i", "d": "i, 'a'"}.get(table, "i")
        pair.source.sql(f"INSERT INTO {table} SELECT {key}, i FROM generate_series(0, 20) i")
        if full:
            pair.source.sql(f"ALTER TABLE {table} REPLICA IDENTITY FULL")
    job = pair.running_job(target={"gear": choice})
    pair.source.sql(ALIKE_WORK)
    pair.wait_equal()
    assert job.process.alive() and job.status()["totals"]["retries"] == 0, job.process.err[-1500:]


def wait_for_lock(pair):
    poll_until(lambda: pair.target.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                       " AND application_name LIKE 'walferry%'") > 0, "the set waits for the table", 20)


@pytest.mark.parametrize("end", ["cancel", "terminate", "stop", "released"])
@pytest.mark.parametrize("work", ["INSERT INTO t SELECT i, repeat('v', 300) FROM generate_series(1001, 60000) i", "UPDATE t SET v = 'w'"])
def test_a_set_that_waits_for_a_table(pair, work, end):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 1000) i")
    job = pair.running_job(**SETS)
    other = pair.target.connect()
    other.autocommit = False
    other.cursor().execute("LOCK TABLE t IN SHARE MODE")
    pair.source.sql(work)
    wait_for_lock(pair)
    if end == "stop":
        job.process.terminate(30)
        job.start()
    if end in ("cancel", "terminate"):
        pair.target.sql(f"SELECT pg_{end}_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'walferry%'")
        wait_for_lock(pair)
    other.rollback()
    other.close()
    pair.wait_equal()
    assert job.process.alive()
