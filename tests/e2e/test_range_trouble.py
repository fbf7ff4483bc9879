"""What comes in between while large tables are loaded range by range, and while it is built behind them."""
import os
import signal

from harness.oracle import check_definitions
from harness.poll import poll_until, poll_while
from test_ranges import SPLIT, ranges_of, wide

ONE = {"workers": 1, "split_above": "1MiB"}
NOTES = "SELECT hash FROM walferry.object_state WHERE hash ~ '^(range|vacuum)'"


def test_load_without_a_slot_stays_of_one_snapshot_when_a_table_is_rewritten(pair):
    wide(pair)
    wide(pair, 2000, "bystander")
    job = pair.job(load=ONE, phases=["schema", "full"])
    process = job.start(fault="snapshot.range_commit:sleep:1500@2")
    process.wait_reached("snapshot.range_commit")
    pair.source.sql("BEGIN; INSERT INTO wide VALUES (-1, 0, 'both'); INSERT INTO bystander VALUES (-1, 0, 'both'); COMMIT")
    pair.source.sql("VACUUM FULL wide")
    assert process.wait(60) == 0, process.err
    assert "was rewritten since the snapshot" in process.err
    pair.check_equal()
    assert "rows are loaded: 22,002," in process.err, "rows of the first snapshot are counted"


def test_trap_A2_notes_of_an_older_snapshot_do_not_count(pair):
    """A failover may bring back what the destination held before the table was begun again."""
    wide(pair)
    job = pair.job(load=ONE)
    process = job.start(fault="snapshot.range_commit:sleep:1500@2,snapshot.range_begin:sleep:2500@2")
    process.wait_reached("snapshot.range_commit")
    pair.target.sql("CREATE SCHEMA aside; CREATE TABLE aside.rows AS SELECT * FROM public.wide;"
                    " CREATE TABLE aside.notes AS SELECT * FROM walferry.object_state WHERE hash LIKE 'range %'")
    assert pair.target.one("SELECT count(*) FROM aside.notes WHERE hash ~ ' [0-9]+$'") == 1 and pair.target.one("SELECT count(*) > 0 FROM aside.rows")
    pair.source.sql("UPDATE wide SET v = 'moved' WHERE id % 2 = 0")
    pair.source.sql("VACUUM FULL wide")
    process.wait_reached("snapshot.range_begin", timeout=30)
    pair.target.sql("DELETE FROM walferry.object_state WHERE hash LIKE 'range %';"
                    " INSERT INTO public.wide SELECT * FROM aside.rows; INSERT INTO walferry.object_state SELECT * FROM aside.notes;"
                    " DROP SCHEMA aside CASCADE")
    job.wait_for("running")
    assert "does not hold all of its ranges any more" in process.err
    pair.wait_equal()
    assert pair.target.sql(NOTES) == []


def made_at_both(pair, *statements):
    for database in (pair.source, pair.target):
        for statement in statements:
            database.sql(statement)


WIDE = "CREATE TABLE wide (id int PRIMARY KEY, n int NOT NULL, v text)"
FILL = "INSERT INTO wide SELECT i, i % 7, repeat(md5(i::text), 8) FROM generate_series(1, 20000) i; ANALYZE wide"


def test_split_table_that_others_refer_to_at_the_target_is_copied_whole(pair):
    """TRUNCATE refuses it."""
    made_at_both(pair, WIDE, "CREATE TABLE child (id int PRIMARY KEY REFERENCES wide)")
    pair.source.sql(FILL)
    pair.source.sql("INSERT INTO child SELECT id FROM wide WHERE id % 10 = 0")
    done = pair.job(load=SPLIT, phases=["full"]).run()
    assert done.exit == 0, done.err
    pair.check_equal()


def test_reader_at_the_target_holds_up_only_the_table_that_he_reads(pair):
    made_at_both(pair, WIDE, "CREATE TABLE beside (id int PRIMARY KEY)")
    pair.source.sql(FILL)
    pair.source.sql("INSERT INTO beside SELECT generate_series(1, 1000)")
    reader = pair.target.connect(autocommit=False)
    reader.cursor().execute("LOCK TABLE wide IN ACCESS SHARE MODE")
    job = pair.job(load=SPLIT, phases=["full"])
    process = job.start()
    poll_until(lambda: pair.target.one("SELECT loaded FROM walferry.table_state WHERE table_name = 'beside'"),
               "the other table is loaded", 20, forgiving=(Exception,))
    reader.rollback()
    reader.close()
    assert process.wait(60) == 0, process.err
    pair.check_equal()


def test_table_that_was_split_once_and_then_copied_whole_is_counted_once(pair):
    wide(pair)
    job = pair.job(load=ONE)
    process = job.start(fault="snapshot.range_commit:sleep:1500@3")
    process.wait_reached("snapshot.range_commit")
    reader = pair.target.connect(autocommit=False)
    reader.cursor().execute("LOCK TABLE wide IN ACCESS SHARE MODE")
    pair.source.sql("VACUUM FULL wide")
    poll_until(lambda: "is copied whole" in process.err, "it is not split again", 30)
    reader.rollback()
    reader.close()
    job.wait_for("running")
    pair.wait_equal()
    shown = {table["name"]: table for table in job.status()["tables"]}["public.wide"]
    assert (len(ranges_of(job)), shown["rows"]) == (1, 20000)
    assert pair.target.sql(NOTES) == []


def test_stop_is_heard_while_the_target_does_not_answer_the_question_for_progress(pair):
    slow = "FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN {} RETURN $1; END $$"
    pair.source.sql(f"CREATE {slow.format('')}; CREATE TABLE slowly (id int);"
                    " INSERT INTO slowly SELECT generate_series(1, 5000); CREATE INDEX slow_index ON slowly (slow(id))")
    pair.source.sql(f"CREATE OR REPLACE {slow.format('PERFORM pg_catalog.pg_sleep(0.004);')}")
    job = pair.job(load=ONE, identity="full")
    process = job.start()
    watcher = poll_until(lambda: pair.target.one(
        "SELECT max(pid) FROM pg_stat_activity WHERE query LIKE '%%pg_stat_progress_create_index%%' AND pid <> pg_backend_pid()"
        " AND datname = current_database()"), "somebody asks", 30)
    os.kill(watcher, signal.SIGSTOP)
    try:
        poll_while(process.alive, "the job goes on, and asks", 2)
        process.signal(signal.SIGTERM)
        process.wait(8)
    finally:
        os.kill(watcher, signal.SIGCONT)
    pair.source.sql(f"CREATE OR REPLACE {slow.format('')}")
    pair.target.sql(f"CREATE OR REPLACE {slow.format('')}")
    job.start()
    job.wait_for("running")
    pair.wait_equal()


def test_target_that_crashes_and_forgets_commits_gets_every_row_once(make_pair):
    """Nothing but its own flushes makes commits durable there: each crash takes back ranges, tables and their notes."""
    pair = make_pair(target={"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB", "autovacuum": "off"})
    wide(pair)
    wide(pair, 4000, "second")
    for number in range(4):
        wide(pair, 500, f"small_{number}")
    job = pair.job(load=SPLIT)
    process = job.start(fault="snapshot.range_commit:sleep:150,snapshot.mid_table:sleep:50")
    for notes in (2, 4, 3):
        poll_until(lambda: pair.target.one("SELECT count(*) FROM walferry.object_state WHERE hash ~ '^range .* [0-9]+$'") >= notes,
                   "ranges are committed", 40, every=0.01, forgiving=(Exception,))
        pair.target.server.kill9()
        pair.source.sql("UPDATE wide SET n = n + 1 WHERE id % 5 = 0; INSERT INTO small_1 SELECT max(id) + 1 FROM small_1")
        pair.target.server.start()
    job.wait_for("running", timeout=90)
    assert process.alive()
    pair.wait_equal()
    assert pair.target.sql(NOTES) == []


KEYS = (
    'CREATE TABLE "other; REFERENCES (" (id int PRIMARY KEY, "two;" int UNIQUE)',
    'CREATE TABLE child (id int PRIMARY KEY, a int, b int, c int)',
    'INSERT INTO "other; REFERENCES (" SELECT i, i FROM generate_series(1, 50) i',
    'INSERT INTO child SELECT i, i, i, i FROM generate_series(1, 50) i',
    'ALTER TABLE child ADD CONSTRAINT " FOREIGN KEY; NOT VALID" FOREIGN KEY (a) REFERENCES "other; REFERENCES ("'
    ' ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED',
    'ALTER TABLE child ADD FOREIGN KEY (b) REFERENCES "other; REFERENCES (" ("two;") MATCH FULL ON DELETE SET NULL (b)',
    'ALTER TABLE child ADD FOREIGN KEY (c) REFERENCES child DEFERRABLE',
    'COMMENT ON CONSTRAINT child_b_fkey ON child IS \'x; FOREIGN KEY (y) REFERENCES z;\'',
    'CREATE UNIQUE INDEX by_a ON child (a)', 'CREATE INDEX by_b ON child (b)', 'CREATE INDEX by_c ON child (c)',
    'ALTER TABLE child ALTER a SET NOT NULL', 'ALTER TABLE child REPLICA IDENTITY USING INDEX by_a',
    'CLUSTER child USING by_c', 'CREATE STATISTICS of_child ON a, b FROM child',
    'ALTER TABLE child ADD EXCLUDE USING btree (c WITH =)')


def test_keys_and_indexes_of_odd_forms_are_those_of_the_source(pair):
    for statement in KEYS:
        pair.source.sql(statement)
    done = pair.job(load={"workers": 4}, phases=["schema", "full"]).run()
    assert done.exit == 0, done.err
    check_definitions(pair.source, pair.target)
    pair.check_equal()
