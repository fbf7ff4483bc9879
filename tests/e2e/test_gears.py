"""Changes one by one and in sets: the same rows whatever the gear, and the gear that it takes."""
import pytest

from harness.poll import poll_until

SETS = {"target": {"gear": "catch-up"}}
TABLE = ("CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, v text, w numeric(9,2), a int[], at timestamptz DEFAULT now());"
         " INSERT INTO t SELECT i, i, 'v' || i, i / 3.0, ARRAY[i, i + 1] FROM generate_series(1, 1000) i")


def gear(job):
    return job.status()["gear"]


def in_one_by_one(job):
    """How often sets were refused."""
    return job.process.err.count("was refused, applying")


@pytest.mark.parametrize("choice", ["live", "catch-up"])
def test_bank_is_exact_under_kills_in_each_gear(make_pair, choice):
    pair = make_pair(source={"logical_decoding_work_mem": "64kB"})
    bank = pair.bank(ballast_tables=1, ballast_rows=2000).start()
    job = pair.running_job(target={"gear": choice})
    watcher = pair.watcher(bank, job)
    watcher.watch()
    for point in ("apply.before_commit:kill@20", "apply.after_commit:kill@20", "ledger.after_durable:kill@30"):
        job.process.kill9()
        bank.writers[1].ask_large(3000, 40)
        job.start(fault=point).wait(60)
        bank.check_prefix(pair.target)
    job.start()
    job.wait_for("running")
    assert gear(job) == choice
    bank.pause_writers()
    job.drain(pair.source)
    pair.check_equal()
    watcher.check()


def test_gear_follows_the_work_both_ways(pair):
    pair.source.sql(TABLE)
    job = pair.running_job()
    pair.source.sql("UPDATE t SET w = w + 1 WHERE id = 1")
    job.drain(pair.source)
    assert gear(job) == "live"
    job.process.terminate()
    connection = pair.source.connect()
    for number in range(12000):
        connection.cursor().execute("UPDATE t SET w = w + 1, v = %s WHERE id = %s", (f"n{number}", number % 1000 + 1))
    connection.close()
    job.start()
    seen = set()
    poll_until(lambda: seen.add(gear(job)) or "catch-up" in seen, "sets", 30, every=0.01)
    job.wait_for("running")
    for number in range(20):
        pair.source.sql(f"UPDATE t SET w = w + 1 WHERE id = {number + 1}")
    poll_until(lambda: gear(job) == "live" or pair.source.sql("UPDATE t SET w = w + 1 WHERE id = 5"), "one by one again",
               30)
    pair.wait_equal()


def test_many_changes_of_few_rows_become_few_statements(pair):
    pair.source.sql(TABLE)
    job = pair.running_job(**SETS)
    before = pair.target.one("SELECT sum(n_tup_upd) FROM pg_stat_user_tables WHERE relname = 't'")
    job.process.terminate()
    for _ in range(30):
        pair.source.sql("UPDATE t SET w = w + 1 WHERE id <= 100")
    job.start()
    job.wait_for("running")
    pair.wait_equal()
    job.process.terminate()
    updated = poll_until(lambda: pair.target.one("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 't'"), "counted")
    assert updated - before < 1000, "3000 changes of 100 rows"


# Each of them is right one by one, and cannot be done by its set as it stands.
ODD_ORDERS = {
    "unique values change places": "UPDATE t SET u = NULL WHERE id = 1; UPDATE t SET u = 1 WHERE id = 2; UPDATE t SET u = 2 WHERE id = 1",
    "keys move on": "UPDATE t SET id = id + 5000 WHERE id BETWEEN 1 AND 50; UPDATE t SET id = id - 1 WHERE id BETWEEN 5001 AND 5050",
    "a key is taken over": "DELETE FROM t WHERE id = 8; UPDATE t SET id = 8 WHERE id = 9; INSERT INTO t VALUES (9, 9009, 'new')",
    "row comes and goes": "INSERT INTO t VALUES (7000, 7000, 'x'); DELETE FROM t WHERE id = 7000; INSERT INTO t VALUES (7000, 7001, 'y');"
                          " UPDATE t SET id = 7001 WHERE id = 7000; DELETE FROM t WHERE id = 7001",
    "emptied in between": "INSERT INTO t VALUES (8000, 8000, 'x'); TRUNCATE t; INSERT INTO t VALUES (8000, 8001, 'y')",
}


@pytest.mark.parametrize("order", ODD_ORDERS)
@pytest.mark.parametrize("size", ["whole", "pieces"])
def test_orders_that_no_set_can_keep(pair, order, size):
    pair.source.sql(TABLE)
    pair.source.sql("CREATE TABLE big (id int PRIMARY KEY, v text)")
    job = pair.running_job(**SETS, memory="16MiB")
    big = "INSERT INTO big SELECT i, repeat('b', 500) FROM generate_series(1, 40000) i;" if size == "pieces" else ""
    pair.source.sql(f"BEGIN; {big} {ODD_ORDERS[order]}; COMMIT")
    pair.wait_equal()
    pair.source.sql(f"BEGIN; DELETE FROM big; UPDATE t SET v = 'behind'; COMMIT")
    pair.wait_equal()
    assert job.process.alive() and job.status()["totals"]["retries"] == 0, job.process.err


def test_trap_A4_a_toasted_value_stays_with_its_row(pair):
    """A deleted row's value must not be taken over by the row that got its key; no value is lost that was not sent."""
    pair.source.sql("CREATE TABLE o (id int PRIMARY KEY, n int, big text); ALTER TABLE o ALTER big SET STORAGE EXTERNAL;"
                    " INSERT INTO o SELECT i, 0, repeat(md5(i::text), 200) FROM generate_series(1, 20) i")
    job = pair.running_job(**SETS)
    pair.source.sql("BEGIN; DELETE FROM o WHERE id = 2; UPDATE o SET id = 2 WHERE id = 1; COMMIT")
    pair.source.sql("BEGIN; UPDATE o SET n = 1 WHERE id = 5; UPDATE o SET big = repeat('new', 2000) WHERE id = 5;"
                    " UPDATE o SET id = 105 WHERE id = 5; COMMIT")
    pair.source.sql("BEGIN; UPDATE o SET id = 1000 + id WHERE id = 6; UPDATE o SET n = 7 WHERE id = 1006;"
                    " UPDATE o SET id = 6 WHERE id = 1006; COMMIT")
    pair.wait_equal()
    assert job.process.alive()


TRIGGERS = {
    "trigger": "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (new.n);"
               " RETURN new; END $$; CREATE TRIGGER note AFTER UPDATE ON s FOR EACH ROW EXECUTE FUNCTION note();"
               " ALTER TABLE s ENABLE ALWAYS TRIGGER note",
    "rule": "CREATE RULE note AS ON UPDATE TO s DO ALSO INSERT INTO public.seen VALUES (new.n); ALTER TABLE s ENABLE ALWAYS RULE note",
}


@pytest.mark.parametrize("kind", TRIGGERS)
def test_table_that_somebody_watches_is_applied_one_by_one(pair, kind):
    pair.source.sql("CREATE TABLE s (id int PRIMARY KEY, n int); INSERT INTO s VALUES (1, 0), (2, 0)")
    job = pair.running_job(**SETS)
    pair.target.sql("CREATE TABLE seen (n int)")
    pair.target.sql(TRIGGERS[kind])
    pair.source.sql("BEGIN; UPDATE s SET n = 1 WHERE id = 1; UPDATE s SET n = 2 WHERE id = 1; UPDATE s SET n = 3 WHERE id = 2; COMMIT")
    job.drain(pair.source)
    assert pair.target.sql("SELECT n FROM seen ORDER BY n") == [(1,), (2,), (3,)]


def test_conflict_stops_before_its_transaction_with_the_row_named(pair):
    pair.source.sql(TABLE)
    job = pair.running_job(**SETS)
    job.process.terminate()
    pair.target.sql("DELETE FROM t WHERE id = 500")
    pair.source.sql("UPDATE t SET v = 'before' WHERE id <= 400")
    pair.source.sql("UPDATE t SET v = 'refused' WHERE id BETWEEN 450 AND 550")
    pair.source.sql("UPDATE t SET v = 'behind' WHERE id = 1")
    done = job.run()
    assert done.exit == 5, done.err
    assert 'update of "public.t" (id=500)' in done.err and "no such row" in done.err
    assert pair.target.one("SELECT count(*) FROM t WHERE v = 'before'") == 400
    assert pair.target.one("SELECT count(*) FROM t WHERE v IN ('refused', 'behind')") == 0


def test_rows_that_copy_must_escape(pair):
    pair.source.sql("CREATE TABLE e (id int PRIMARY KEY, v text, b bytea, j jsonb)")
    job = pair.running_job(**SETS, log={"level": "debug"})
    pair.source.sql("INSERT INTO e SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'\\\\N\\\\.'"
                    " ELSE E'a\\tb\\nc\\rd\\be\\ff\\vg\\\\h' END, decode(lpad(to_hex(i), 8, '0'), 'hex'),"
                    " jsonb_build_object('k', E'\\\\ \\n') FROM generate_series(1, 3000) i")
    pair.wait_equal()
    assert in_one_by_one(job) == 0


PLAIN = "CREATE TABLE p (id int PRIMARY KEY, n numeric, d date, at timestamptz, u uuid, j jsonb, f float8, b bool, v varchar(40))"
PLAIN_ROWS = ("INSERT INTO p SELECT i, i * 1.5, date '2000-01-01' + i, timestamptz 'epoch' + i * interval '1 h', md5(i::text)::uuid,"
              " jsonb_build_object('i', i), i / 7.0, i % 2 = 0, 'v' || i FROM generate_series({0}, {1}) i")


@pytest.mark.parametrize("choice", ["live", "catch-up"])
def test_trap_B3_plain_types_come_in_binary_until_one_does_not_fit(pair, choice):
    pair.source.sql(PLAIN)
    pair.source.sql(PLAIN_ROWS.format(1, 500))
    job = pair.running_job(target={"gear": choice})
    assert "values in binary" in job.process.err
    pair.source.sql("BEGIN; " + PLAIN_ROWS.format(501, 1500) + "; UPDATE p SET n = n + 1, v = 'neu' WHERE id % 3 = 0;"
                    " DELETE FROM p WHERE id % 10 = 1; UPDATE p SET id = id + 10000 WHERE id < 20; COMMIT")
    pair.wait_equal()
    for side in (pair.target, pair.source):
        side.sql("CREATE TYPE mood AS ENUM ('sad', 'glad'); ALTER TABLE p ADD m mood")
    pair.source.sql("UPDATE p SET m = 'glad' WHERE id % 2 = 0")
    pair.wait_equal()
    assert "asking for the values in text" in job.process.err and job.process.err.count("values in text") >= 1
    assert job.process.alive()


def test_trap_B3_a_column_of_another_type_there_is_sent_text(pair):
    pair.source.sql(PLAIN)
    job = pair.running_job()
    pair.target.sql("ALTER TABLE p ALTER id TYPE bigint")
    pair.source.sql(PLAIN_ROWS.format(1, 50))
    pair.wait_equal()
    assert "asking for the values in text" in job.process.err


def test_a_conflict_in_binary_names_the_row(pair):
    pair.source.sql("CREATE TABLE k (a bigint, b uuid, c text, n int, PRIMARY KEY (a, b, c)); INSERT INTO k VALUES"
                    " (-7, '00112233-4455-6677-8899-aabbccddeeff', 'it''s', 1)")
    job = pair.running_job()
    pair.target.sql("DELETE FROM k")
    pair.source.sql("UPDATE k SET n = 2")
    assert job.process.wait(30) == 5
    assert "(a=-7, b=00112233-4455-6677-8899-aabbccddeeff, c=it's)" in job.process.err, job.process.err
