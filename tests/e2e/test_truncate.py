"""TRUNCATE: what was listed, in its place in the stream, and nothing else."""
import pytest

from harness.poll import poll_until, poll_while

TABLES = """
CREATE TABLE par (id int PRIMARY KEY); CREATE TABLE chi (id serial PRIMARY KEY, par int REFERENCES par);
CREATE TABLE alone (id int PRIMARY KEY);
INSERT INTO par SELECT generate_series(1, 10); INSERT INTO chi (par) SELECT generate_series(1, 10);
INSERT INTO alone SELECT generate_series(1, 10)"""


@pytest.mark.asan
def test_truncate_of_several_tables_keeps_its_place_among_the_rows(pair):
    """F53."""
    pair.source.sql(TABLES)
    job = pair.running_job()
    pair.source.sql("BEGIN; INSERT INTO par VALUES (77); TRUNCATE par, chi, alone RESTART IDENTITY;"
                    " INSERT INTO par VALUES (5); INSERT INTO chi (par) VALUES (5); COMMIT")
    pair.source.sql("INSERT INTO alone VALUES (1); TRUNCATE alone; INSERT INTO alone VALUES (2)")
    pair.source.sql("BEGIN; TRUNCATE alone; ROLLBACK")
    pair.source.sql("BEGIN; SAVEPOINT s; TRUNCATE par CASCADE; ROLLBACK TO s; INSERT INTO alone VALUES (3); COMMIT")
    job.drain(pair.source)
    pair.check_equal()
    assert pair.target.sql("SELECT id FROM chi") == [(1,)]


def test_truncate_cascade_arrives_as_what_it_did(pair):
    pair.source.sql(TABLES)
    job = pair.running_job()
    pair.source.sql("TRUNCATE par CASCADE")
    job.drain(pair.source)
    pair.check_equal()
    assert pair.target.one("SELECT count(*) FROM alone") == 10


def test_trap_A5_truncate_never_goes_further_than_the_source_did(pair):
    """A table that only the destination has refers to a truncated one: refused and named, its rows stay."""
    pair.source.sql(TABLES)
    job = pair.running_job()
    pair.target.sql("CREATE TABLE extra (id int PRIMARY KEY, par int REFERENCES par); INSERT INTO extra VALUES (1, 1)")
    pair.source.sql("TRUNCATE par, chi CASCADE")
    assert job.process.wait(30) == 5
    assert "extra" in job.process.err
    assert pair.target.sql("SELECT par FROM extra") == [(1,)]
    assert pair.target.one("SELECT count(*) FROM par") == 10
    pair.target.sql("DROP TABLE extra")
    job.start()
    job.wait_for("running")
    pair.wait_equal()


def test_truncate_of_partitions(pair):
    pair.source.sql("""
        CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p DEFAULT;
        INSERT INTO p SELECT generate_series(1, 20)""")
    job = pair.running_job()
    pair.source.sql("TRUNCATE p1")
    job.drain(pair.source)
    pair.check_equal()
    pair.source.sql("TRUNCATE p; INSERT INTO p VALUES (3), (30)")
    job.drain(pair.source)
    pair.check_equal()


def test_truncate_of_a_table_with_foreign_keys_to_itself_and_inheritance(pair):
    pair.source.sql("CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree);"
                    " INSERT INTO tree VALUES (1, NULL), (2, 1);"
                    " CREATE TABLE base (id int PRIMARY KEY); CREATE TABLE derived (PRIMARY KEY (id)) INHERITS (base);"
                    " INSERT INTO base VALUES (1); INSERT INTO derived VALUES (2)")
    job = pair.running_job()
    pair.source.sql("TRUNCATE tree; TRUNCATE ONLY base")
    job.drain(pair.source)
    pair.check_equal()
    assert pair.target.one("SELECT count(*) FROM base") == 1, "the row of the child stays"


def test_rows_behind_a_truncate_wait_for_a_lock_as_long_as_others(pair):
    """The short lock_timeout is that of the TRUNCATE alone: a blocked row is no reason to begin the session again."""
    pair.source.sql("CREATE TABLE emptied (id int PRIMARY KEY); CREATE TABLE held (id int PRIMARY KEY, v text);"
                    " INSERT INTO emptied VALUES (1); INSERT INTO held VALUES (1, 'a')")
    job = pair.running_job()
    holder = pair.target.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
    pair.source.sql("BEGIN; TRUNCATE emptied; UPDATE held SET v = 'b'; COMMIT")
    poll_until(lambda: pair.target.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), "the row waits")
    poll_while(lambda: job.status()["totals"]["retries"] == 0, "the same session", 12)
    holder.rollback()
    holder.close()
    pair.wait_equal()
    assert job.status()["totals"]["retries"] == 0
