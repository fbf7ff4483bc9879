"""Schema changes of captured tables (F58): noticed at the first row of the new form, told with what to run, gone on from."""
import re

import psycopg2
import pytest

from harness.bank import check_prefix
from harness.poll import poll_until

TABLES = """
CREATE TABLE t (id int PRIMARY KEY, v text, n int); CREATE TABLE other (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'row ' || i, i FROM generate_series(1, 10) i;
INSERT INTO other SELECT i, 'other ' || i FROM generate_series(1, 10) i;
"""
# What is done to the source, a row of the new form, what is said.
CHANGES = {
    "added": ("ALTER TABLE t ADD w int", "INSERT INTO t VALUES (100, 'new', 1, 7)", 'added "w" integer'),
    "added with a default": ("ALTER TABLE t ADD w numeric(10,2)", "INSERT INTO t VALUES (100, 'new', 1, 7.5)",
                             'added "w" numeric(10,2)'),
    "dropped": ("ALTER TABLE t DROP v", "INSERT INTO t VALUES (100, 1)", 'dropped "v"'),
    "renamed": ("ALTER TABLE t RENAME v TO u", "UPDATE t SET u = 'x' WHERE id = 1", 'renamed "v" to "u"'),
    "last one renamed": ("ALTER TABLE t RENAME n TO m", "UPDATE t SET m = 7 WHERE id = 1",
                         'renamed "n" to "m" (or dropped the one and added the other)'),
    "swapped": ("ALTER TABLE t ADD p int; ALTER TABLE t RENAME n TO x; ALTER TABLE t RENAME p TO n;"
                " ALTER TABLE t RENAME x TO p", "UPDATE t SET n = 70, p = 71 WHERE id = 1", 'added'),
    "wider": ("ALTER TABLE t ALTER n TYPE bigint", "UPDATE t SET n = 5000000000 WHERE id = 1", 'changed "n" to bigint'),
    "longer": ("ALTER TABLE t ALTER v TYPE varchar(50)", "UPDATE t SET v = 'long' WHERE id = 1",
               'changed "v" to character varying(50)'),
    "table renamed": ("ALTER TABLE t RENAME TO renamed", "UPDATE renamed SET v = 'x' WHERE id = 1",
                      'is now "public.renamed"'),
    "moved": ("CREATE SCHEMA s2; ALTER TABLE t SET SCHEMA s2", "UPDATE s2.t SET v = 'x' WHERE id = 1",
              'is now "s2.t"'),
    "several": ("ALTER TABLE t DROP v, ADD w int, ADD x text, ALTER n TYPE bigint", "INSERT INTO t VALUES (100, 1, 2, 'x')",
                'dropped "v", changed "n" to bigint, added "w" integer, added "x" text'),
}


def statements(job):
    """What the hint says to run at the target."""
    found = re.search(r"do the same at the target \((.*)\), then start again", job.process.err)
    assert found, job.process.err
    return found.group(1)


def stopped_with(job, words):
    assert job.process.wait(30) == 5, job.process.err
    assert words in job.process.err, job.process.err


@pytest.mark.parametrize("what", CHANGES)
def test_change_stops_before_the_first_row_of_the_new_form(pair, what):
    """F58. What was before is applied; the statement that is told makes it go on; a later change is noticed, too."""
    change, row, words = CHANGES[what]
    pair.source.sql(TABLES)
    if what == "moved":
        pair.target.sql("CREATE SCHEMA s2")
    job = pair.running_job()
    pair.source.sql("UPDATE t SET v = 'before' WHERE id = 3; UPDATE other SET v = 'before' WHERE id = 3")
    pair.source.sql(change)
    pair.source.sql("UPDATE other SET v = 'between' WHERE id = 4")
    pair.source.sql("BEGIN; UPDATE other SET v = 'with it' WHERE id = 5; " + row + "; COMMIT")
    if what == "swapped":
        assert job.process.wait(30) == 5, job.process.err
        pair.target.sql(change)
    else:
        stopped_with(job, words)
        assert 'table "public.t" has changed on the source' in job.process.err
        assert "in transaction" in job.process.err, "at its exact position"
        assert pair.target.one("SELECT v FROM t WHERE id = 3") == "before"
        assert pair.target.sql("SELECT v FROM other WHERE id IN (4, 5) ORDER BY id") == [("between",), ("other 5",)]
        pair.target.sql(statements(job))
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    pair.check_equal()
    assert job.process.alive()


@pytest.mark.parametrize("what", [what for what in CHANGES if what != "swapped"])
def test_change_that_the_target_has_made_already_goes_on(pair, what):
    """An identical change beforehand loses nothing. Over a restart, too: the record has followed."""
    change, row, _ = CHANGES[what]
    pair.source.sql(TABLES)
    job = pair.running_job()
    job.drain(pair.source)
    pair.target.sql(change)
    pair.source.sql(change)
    pair.source.sql(row)
    pair.wait_equal()
    job.process.kill9()
    job.start()
    job.wait_for("running")
    pair.source.sql("UPDATE other SET v = 'on' WHERE id = 1")
    pair.source.sql(row.replace("100", "101"))
    pair.wait_equal()
    assert job.process.alive() and job.status()["totals"]["retries"] == 0, job.process.err


def test_tables_that_swap_names_are_not_taken_for_each_other(pair):
    """F58: both names are there at the target; only the OIDs tell which rows are whose."""
    swap = "ALTER TABLE t RENAME TO x; ALTER TABLE other RENAME TO t; ALTER TABLE x RENAME TO other"
    same = "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE other (id int PRIMARY KEY, v text);"
    pair.source.sql(same + "INSERT INTO t VALUES (1, 'of t'); INSERT INTO other VALUES (1, 'of other'), (2, 'more')")
    job = pair.running_job()
    pair.source.sql("UPDATE t SET v = 'before'")
    pair.source.sql(swap)
    pair.source.sql("UPDATE other SET v = 'was t'; UPDATE t SET v = 'was other'")
    stopped_with(job, 'table "public.t" has changed on the source: is now "public.other"')
    job.start()
    stopped_with(job, 'is now "public.other"')
    pair.target.sql(swap)
    job.start()
    job.wait_for("running")
    pair.wait_equal()
    assert pair.target.sql("SELECT v FROM other") == [("was t",)]


def test_columns_that_swap_names_are_not_taken_for_each_other(pair):
    swap = "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b"
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t VALUES (1, 10, 20), (2, 11, 21)")
    job = pair.running_job()
    pair.source.sql(swap)
    pair.source.sql("UPDATE t SET a = 99 WHERE id = 1")
    stopped_with(job, 'renamed "a" to "b"')
    job.start()
    stopped_with(job, 'renamed "a" to "b"')
    pair.target.sql(swap)
    job.start()
    job.wait_for("running")
    pair.wait_equal()


def test_change_between_rows_of_one_transaction_and_while_nobody_reads(pair):
    """The transaction is applied whole or not at all."""
    pair.source.sql(TABLES)
    job = pair.running_job()
    job.process.kill9()
    pair.source.sql("BEGIN; INSERT INTO t VALUES (20, 'old form', 1); ALTER TABLE t ADD w int;"
                    " INSERT INTO t VALUES (21, 'new form', 1, 2); ALTER TABLE t DROP w, ADD x text;"
                    " INSERT INTO t VALUES (22, 'newest', 1, 'x'); COMMIT")
    job.start()
    stopped_with(job, 'added "w" integer')
    assert pair.target.one("SELECT count(*) FROM t") == 10
    pair.target.sql("ALTER TABLE t ADD w int")
    job.start()
    stopped_with(job, '')
    assert pair.target.one("SELECT count(*) FROM t") == 10


def test_change_that_is_rolled_back_is_none(pair):
    pair.source.sql(TABLES)
    job = pair.running_job()
    pair.source.sql("BEGIN; ALTER TABLE t ADD w int; INSERT INTO t VALUES (20, 'x', 1, 2); ROLLBACK")
    pair.source.sql("BEGIN; SAVEPOINT a; ALTER TABLE t RENAME TO gone; ROLLBACK TO a; UPDATE t SET n = 5; COMMIT")
    pair.wait_equal()
    assert job.process.alive()


def test_dropped_table_is_told_and_nothing_else_stops(pair):
    pair.source.sql(TABLES)
    job = pair.running_job()
    pair.source.sql("DROP TABLE other")
    poll_until(lambda: '"public.other"' in job.process.err, "it is told", 20)
    pair.source.sql("UPDATE t SET v = 'after'")
    pair.wait_equal(only=["public.t"])
    assert job.process.terminate() == 0
    job.start()
    job.wait_for("running")
    assert '"public.other"' in job.process.err
    assert pair.target.one("SELECT count(*) FROM other") == 10, "it stays"


def test_table_made_again_under_its_name_is_not_the_one_that_was_loaded(pair):
    """F58: nothing of it has ever been copied."""
    pair.source.sql(TABLES)
    job = pair.running_job()
    pair.source.sql("DROP TABLE other; CREATE TABLE other (id int PRIMARY KEY, v text); INSERT INTO other VALUES (1, 'new')")
    assert job.process.wait(30) == 5, job.process.err
    assert 'table "public.other" was dropped on the source, and another one of its name was made' in job.process.err
    again = job.run()
    assert again.exit == 5 and "another one of its name" in again.err, again.err


def test_record_of_an_older_version_is_taken_over(pair):
    """F11: it begins with the form of the first row."""
    pair.source.sql(TABLES)
    job = pair.running_job()
    assert job.process.terminate() == 0
    pair.target.sql("ALTER TABLE walferry.table_state DROP source_oid, DROP target_oid, DROP definition, DROP target_columns")
    job.start()
    job.wait_for("running")
    pair.source.sql("UPDATE t SET v = 'x'; UPDATE other SET v = 'y'")
    pair.wait_equal()
    pair.source.sql("ALTER TABLE t DROP v; UPDATE t SET n = 5")
    stopped_with(job, 'dropped "v"')


@pytest.mark.parametrize("killed", ["apply.before_commit", "apply.after_commit"])
def test_changes_beside_the_bank_with_kills(pair, killed):
    """Prefix at every stop; the record moves with the rows."""
    bank = pair.bank(writers=2)
    pair.source.sql("CREATE TABLE t (id serial PRIMARY KEY, v text)")
    bank.start()
    job = pair.running_job()
    for number, (change, row) in enumerate([("ALTER TABLE t ADD w int", "INSERT INTO t (w) VALUES (1)"),
                                            ("ALTER TABLE t RENAME w TO x", "INSERT INTO t (x) VALUES (2)"),
                                            ("ALTER TABLE t DROP v", "INSERT INTO t (x) VALUES (3)")]):
        pair.source.sql(change)
        pair.source.sql(row)
        assert job.process.wait(30) == 5, job.process.err
        check_prefix(pair.target, 2)
        pair.target.sql(change)
        job.start(fault=f"{killed}:kill@{number + 2}")
        assert job.process.wait(30) == -9
        check_prefix(pair.target, 2)
        job.start()
        job.wait_for("running")
    bank.stop()
    pair.wait_equal()
    check_prefix(pair.target, 2)


# ---- ddl: pause-table ----

PAUSE = {"ddl": "pause-table"}
# What reads the source's catalogs, not the stream: the form is the newest one, whatever came between.
MORE_CHANGES = CHANGES | {
    "columns swapped": ("ALTER TABLE t RENAME v TO x; ALTER TABLE t ADD v2 text; ALTER TABLE t RENAME v2 TO v",
                        "UPDATE t SET v = 'a', x = 'b' WHERE id = 1", ""),
    "rewritten": ("ALTER TABLE t ALTER v TYPE int USING id * 7", "UPDATE t SET v = 0 WHERE id = 1", ""),
    "not null with a default": ("ALTER TABLE t ADD w timestamptz NOT NULL DEFAULT clock_timestamp()",
                                "INSERT INTO t VALUES (100, 'x', 1)", ""),
    "random": ("ALTER TABLE t ADD w float8 DEFAULT random()", "INSERT INTO t VALUES (100, 'x', 1)", ""),
    "identity and generated": ("ALTER TABLE t ADD w int GENERATED ALWAYS AS IDENTITY, ADD g int GENERATED ALWAYS AS (n * 2) STORED",
                               "INSERT INTO t VALUES (100, 'x', 1)", ""),
    "twice in one transaction": ("SELECT 1", "UPDATE t SET v = 'y' WHERE id = 1; ALTER TABLE t DROP v, ADD w int;"
                                 " UPDATE t SET w = 5 WHERE id = 2; ALTER TABLE t RENAME w TO z; UPDATE t SET z = 6", ""),
}


@pytest.mark.parametrize("what", MORE_CHANGES)
def test_changed_table_is_loaded_again(pair, what):
    """The others go on; the table is there again in its new form, whatever was done to its rows."""
    change, row, _ = MORE_CHANGES[what]
    pair.source.sql(TABLES + "CREATE INDEX by_n ON t (n); CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t);"
                    " INSERT INTO child VALUES (1, 1)")
    if what == "moved":
        pair.target.sql("CREATE SCHEMA s2")
    job = pair.running_job(**PAUSE)
    pair.source.sql(change)
    pair.source.sql("BEGIN; UPDATE other SET v = 'with it' WHERE id = 5; " + row + "; COMMIT")
    pair.wait_equal(timeout=20)
    pair.source.sql("UPDATE other SET v = 'after it'; DELETE FROM child")
    pair.wait_equal(timeout=20)
    assert job.process.alive() and "is set aside and loaded again" in job.process.err, job.process.err
    job.wait_for("running")
    columns = "SELECT table_schema, table_name, column_name, data_type, is_nullable, is_identity, is_generated" \
              " FROM information_schema.columns WHERE table_schema IN ('public', 's2') AND table_name NOT LIKE 'dts%' ORDER BY 1, 2, 3"
    assert pair.target.sql(columns) == pair.source.sql(columns)


def test_swapped_tables_are_loaded_again(pair):
    swap = "ALTER TABLE t RENAME TO x; ALTER TABLE other RENAME TO t; ALTER TABLE x RENAME TO other"
    pair.source.sql(TABLES)
    job = pair.running_job(**PAUSE)
    pair.source.sql(swap)
    pair.source.sql("UPDATE t SET v = 'was other'; UPDATE other SET v = 'was t'")
    pair.wait_equal()
    assert job.process.alive()


@pytest.mark.parametrize("point", ["ddl.before_aside", "ddl.after_aside", "ddl.before_reshape", "ddl.after_reshape",
                                   "snapshot.mid_table", "ddl.after_load", "apply.before_commit"])
def test_kill_while_a_changed_table_is_loaded_again(pair, point):
    """A2, A17: between any two statements. The bank's tables go on, and are a prefix in the end."""
    bank = pair.bank(writers=2)
    pair.source.sql("CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 5000)")
    bank.start()
    job = pair.running_job(**PAUSE)
    assert job.process.terminate() == 0
    pair.source.sql("ALTER TABLE t ADD w float8 DEFAULT random(); INSERT INTO t (v) VALUES ('new')")
    job.start(fault=f"{point}:kill@1")
    assert job.process.wait(60) == -9
    assert job.process.reached(point)
    pair.source.sql("UPDATE t SET v = 'y' WHERE id % 10 = 0; DELETE FROM t WHERE id % 10 = 1")
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    check_prefix(pair.target, 2)
    bank.stop()
    pair.wait_equal()
    check_prefix(pair.target, 2)


# ---- ddl: apply ----

APPLY = {"ddl": "apply"}
FORM = """SELECT table_schema, table_name, column_name, data_type, character_maximum_length, numeric_precision, is_nullable,
                 column_default, is_identity, is_generated
            FROM information_schema.columns
           WHERE table_schema IN ('public', 's2') AND table_name NOT LIKE 'dts%' ORDER BY 1, 2, 3"""
# What is done without loading the table again, and rows of the new form.
APPLIED = {what: change for what, change in CHANGES.items() if what not in ("wider", "longer", "several")} | {
    "columns swapped": MORE_CHANGES["columns swapped"],
    "constant default": ("ALTER TABLE t ADD w int NOT NULL DEFAULT 42", "INSERT INTO t VALUES (100, 'x', 1)", ""),
    "default of the moment": ("ALTER TABLE t ADD w timestamptz DEFAULT now(), ADD x int[] DEFAULT '{1,2}'",
                              "INSERT INTO t VALUES (100, 'x', 1)", ""),
    "not null": ("ALTER TABLE t ALTER v SET NOT NULL, ALTER n SET DEFAULT 7", "INSERT INTO t (id, v) VALUES (100, 'x')", ""),
    "longer number": ("ALTER TABLE t ADD w numeric(8,2); ALTER TABLE t ALTER w TYPE numeric(10,2)",
                      "INSERT INTO t VALUES (100, 'x', 1, 12345678.25)", ""),
    "dropped and added": ("ALTER TABLE t DROP v; ALTER TABLE t ADD v text", "UPDATE t SET v = 'new' WHERE id = 2", ""),
    "code": ("DO $$ BEGIN ALTER TABLE t ADD w int; INSERT INTO t VALUES (99, 'y', 1, 2); ALTER TABLE t RENAME w TO z; END $$",
             "UPDATE t SET z = 8 WHERE id = 99", ""),
    "replica role": ("SET session_replication_role = replica; ALTER TABLE t ADD w int", "INSERT INTO t VALUES (100, 'x', 1, 2)", ""),
    "between rows": ("SELECT 1", "UPDATE t SET v = 'y' WHERE id = 1; ALTER TABLE t DROP v, ADD w int;"
                     " UPDATE t SET w = 5 WHERE id = 2; ALTER TABLE t RENAME w TO z; UPDATE t SET z = 6", ""),
    "rolled back": ("SELECT 1", "SAVEPOINT a; ALTER TABLE t DROP v; INSERT INTO t VALUES (98, 7); ROLLBACK TO a;"
                    " ALTER TABLE t ADD w int; INSERT INTO t VALUES (98, 'y', 7, 8)", ""),
}


@pytest.mark.parametrize("what", APPLIED)
def test_trap_A11_change_is_made_at_the_target(pair, what):
    """In its place in the stream; the definitions are the same on both sides afterwards."""
    change, row, _ = APPLIED[what]
    pair.source.sql(TABLES)
    if what == "moved":
        pair.target.sql("CREATE SCHEMA s2")
    job = pair.running_job(**APPLY)
    pair.source.sql(change)
    pair.source.sql("BEGIN; UPDATE other SET v = 'with it' WHERE id = 5; " + row + "; COMMIT")
    pair.wait_equal(timeout=20)
    assert job.process.alive() and "set aside" not in job.process.err, job.process.err
    assert pair.target.sql(FORM) == pair.source.sql(FORM)


@pytest.mark.parametrize("what", ["wider", "longer", "rewritten", "random", "not null with a default", "identity and generated"])
def test_trap_A11_what_was_computed_anew_is_loaded_again(pair, what):
    change, row, _ = MORE_CHANGES[what]
    pair.source.sql(TABLES)
    job = pair.running_job(**APPLY)
    pair.source.sql(change)
    pair.source.sql(row)
    pair.wait_equal(timeout=20)
    assert job.process.alive() and "is set aside and loaded again" in job.process.err, job.process.err
    assert [line[:4] for line in pair.target.sql(FORM)] == [line[:4] for line in pair.source.sql(FORM)]


@pytest.mark.parametrize("point", ["ddl.after_statements", "apply.before_commit", "apply.after_commit"])
def test_kill_around_a_change_that_is_applied(pair, point):
    """Once, or not yet: the record moves with the table."""
    bank = pair.bank(writers=2)
    pair.source.sql("CREATE TABLE t (id serial PRIMARY KEY, v text)")
    bank.start()
    job = pair.running_job(**APPLY)
    assert job.process.terminate() == 0
    pair.source.sql("ALTER TABLE t ADD w int; INSERT INTO t (w) VALUES (1); ALTER TABLE t RENAME w TO x;"
                    " ALTER TABLE t DROP v; INSERT INTO t (x) VALUES (2); ALTER TABLE t ADD v timestamptz DEFAULT now();"
                    " INSERT INTO t (x) VALUES (3)")
    for occurrence in (1, 2):
        job.start(fault=f"{point}:kill@{occurrence}")
        assert job.process.wait(60) == -9
        check_prefix(pair.target, 2)
    job.start()
    job.wait_for("running")
    bank.stop()
    pair.wait_equal()
    check_prefix(pair.target, 2)
    assert pair.target.sql(FORM) == pair.source.sql(FORM)


def test_group_that_is_refused_behind_a_change_makes_it_again(pair):
    """Its transaction is rolled back with the group, and so is what is known of the table."""
    pair.source.sql(TABLES)
    job = pair.running_job(**APPLY)
    assert job.process.terminate() == 0
    pair.target.sql("INSERT INTO other VALUES (50, 'in the way')")
    pair.source.sql("ALTER TABLE t ADD w int")
    pair.source.sql("INSERT INTO t VALUES (100, 'x', 1, 2)")
    pair.source.sql("INSERT INTO other VALUES (50, 'refused')")
    job.start()
    assert job.process.wait(30) == 5
    assert pair.target.one("SELECT w FROM t WHERE id = 100") == 2
    pair.target.sql("DELETE FROM other WHERE id = 50")
    job.start()
    job.wait_for("running")
    pair.source.sql("ALTER TABLE t RENAME w TO z")
    pair.source.sql("UPDATE t SET z = 9 WHERE id = 100")
    pair.wait_equal()
    assert pair.target.sql(FORM) == pair.source.sql(FORM) and "set aside" not in job.process.err


def test_triggers_come_with_the_job_and_go_with_it(pair):
    """They never fail anybody's command, nor tell of temporary tables; a job that begins to use them later has them then."""
    names = "SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY 1"
    pair.source.sql(TABLES)
    job = pair.running_job()
    assert pair.source.sql(names) == []
    assert job.process.terminate() == 0
    job.rewrite(APPLY)
    job.start()
    job.wait_for("running")
    assert pair.source.sql(names) == [(f"dts_{job.name}_{kind}", "A") for kind in ("ddl", "drop", "rewrite")]
    role = f"{pair.name}_plain"
    pair.source.sql(f"CREATE ROLE {role}; GRANT ALL ON SCHEMA public TO {role}; GRANT CREATE ON DATABASE \"{pair.name}\" TO {role};"
                    f" SET ROLE {role}; CREATE TABLE own (id int); ALTER TABLE own ADD v int; DROP TABLE own;"
                    " CREATE TEMPORARY TABLE own (id int); ALTER TABLE own ADD v int")
    pair.source.sql(f"ALTER TABLE t ADD w int; CREATE INDEX by_w ON t (w); INSERT INTO t VALUES (100, 'x', 1, 2)")
    pair.wait_equal()
    poll_until(lambda: pair.target.one("SELECT to_regclass('by_w') IS NOT NULL"), "the index is made", 20)
    assert job.process.terminate() == 0
    assert job.call("cleanup").exit == 0
    assert pair.source.sql(names) == []
    assert pair.source.sql("SELECT FROM pg_namespace WHERE nspname = 'walferry'") == []
    pair.source.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_without_the_right_check_says_so(pair):
    role = f"{pair.name}_reader"
    pair.source.sql(TABLES + f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'x'; GRANT CREATE ON DATABASE \"{pair.name}\" TO {role};"
                    f"GRANT ALL ON SCHEMA public TO {role}; ALTER TABLE t OWNER TO {role}; ALTER TABLE other OWNER TO {role}")
    job = pair.job(source_dsn=pair.source.dsn().replace("user=postgres", f"user={role}").replace("postgres@", f"{role}@"), **APPLY)
    items = {item["name"]: item for item in job.call("check", "--json").json()["items"]}
    assert items["ddl-trigger"]["state"] == "failed" and "event trigger" in items["ddl-trigger"]["seen"], items
    assert job.run().exit == 2
    assert pair.source.sql("SELECT FROM pg_namespace WHERE nspname = 'walferry'") == []
    pair.source.sql(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_trap_A18_attach_and_detach_are_told(pair):
    """F59: leaves travel as leaves, so nothing is lost meanwhile."""
    pair.source.sql("CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
                    " CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100); CREATE TABLE p2 (id int PRIMARY KEY, v text NULL);"
                    " INSERT INTO p VALUES (1, 'x'); INSERT INTO p2 VALUES (101, 'y')")
    job = pair.running_job()
    pair.source.sql("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200); INSERT INTO p VALUES (102, 'z')")
    poll_until(lambda: 'table "public.p2" was attached to "public.p"' in job.process.err, "it is told", 20)
    pair.source.sql("ALTER TABLE p DETACH PARTITION p1; UPDATE p1 SET v = 'by itself'")
    poll_until(lambda: 'table "public.p1" was detached' in job.process.err, "it is told", 20)
    pair.wait_equal(timeout=20)
    assert job.process.alive()


# ---- indexes ----

INDEXES = """SELECT indexname, pg_get_indexdef(x.indexrelid), x.indisvalid FROM pg_indexes i JOIN pg_index x ON x.indexrelid
             = format('%I.%I', i.schemaname, i.indexname)::regclass WHERE tablename IN ('t', 'other') ORDER BY 1"""


def wait_same_indexes(pair):
    poll_until(lambda: pair.target.sql(INDEXES) == pair.source.sql(INDEXES), "the same indexes", 30)


def test_indexes_are_made_beside_the_stream_and_dropped_in_their_place(pair):
    """One that is dropped is gone before the rows that it would refuse; those of others are left alone."""
    pair.source.sql(TABLES + "CREATE TABLE alone (id int PRIMARY KEY, v text)")
    job = pair.running_job(objects={"exclude": ["public.alone"]}, **APPLY)
    pair.target.sql("CREATE TABLE alone (id int PRIMARY KEY, v text); CREATE INDEX here ON alone (v)")
    pair.source.sql("CREATE INDEX here ON alone (v); DROP INDEX here")
    pair.source.sql("CREATE INDEX by_v ON t (v text_pattern_ops) WHERE n > 3; CREATE UNIQUE INDEX once ON t (n);"
                    " CREATE INDEX lowered ON other (lower(v)); CREATE INDEX gone ON t (n); DROP INDEX gone")
    pair.source.sql("CREATE INDEX CONCURRENTLY beside ON other (v, id)")
    wait_same_indexes(pair)
    pair.source.sql("INSERT INTO t VALUES (1000, 'x', 5000)")
    pair.source.sql("DROP INDEX once; INSERT INTO t VALUES (1001, 'x', 5000)")
    pair.source.sql("DROP INDEX CONCURRENTLY beside")
    pair.source.sql("CREATE UNIQUE INDEX once ON other (v)")
    job.drain(pair.source)
    pair.check_equal(only={"public.t", "public.other"})
    wait_same_indexes(pair)
    assert pair.target.one("SELECT to_regclass('here') IS NOT NULL"), "of another table"
    assert pair.target.one("SELECT count(*) FROM walferry.object_state WHERE hash LIKE 'index %%'") == 0


def test_index_that_a_kill_broke_off_is_made_by_the_next_run(pair):
    pair.source.sql(TABLES)
    job = pair.running_job(**APPLY)
    assert job.process.terminate() == 0
    pair.source.sql("CREATE INDEX by_v ON t (v)")
    job.start(fault="indexer.before_build:kill@1")
    assert job.process.wait(30) == -9
    reader = pair.target.connect(autocommit=False)
    reader.cursor().execute("SELECT txid_current(); LOCK TABLE t IN ROW EXCLUSIVE MODE")  # the build waits for it
    job.start()
    poll_until(lambda: pair.target.one("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('by_v') AND NOT indisvalid"), "half of it", 20)
    job.process.kill9()
    reader.rollback()
    reader.close()
    job.start()
    wait_same_indexes(pair)
    job.wait_for("running")


def test_index_that_the_target_refuses_is_told(pair):
    pair.source.sql(TABLES)
    pair.source.sql("CREATE FUNCTION half(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 / 2'")
    job = pair.running_job(**APPLY)
    pair.target.sql("DROP FUNCTION half(int)")
    pair.source.sql("CREATE INDEX halves ON t (half(n))")
    poll_until(lambda: "left out at the target: CREATE INDEX halves" in job.process.err, "it is told", 20)
    pair.source.sql("UPDATE t SET n = n + 1")
    pair.wait_equal()
    assert pair.target.one("SELECT to_regclass('halves') IS NULL")


def test_indexes_that_are_not_made_are_told(pair):
    """Of partitioned tables, and where the job gives other names."""
    pair.source.sql(TABLES + "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT")
    job = pair.running_job(objects={"rename": {"tables": {"public.t": "public.t2"}}}, **APPLY)
    pair.source.sql("CREATE INDEX by_v ON t (v); CREATE INDEX p_v ON p (v)")
    for name in ("by_v", "p_v"):
        poll_until(lambda name=name: f"an index was made on the source, and not at the target: CREATE INDEX {name}" in job.process.err,
                   f"{name} is told", 20)
