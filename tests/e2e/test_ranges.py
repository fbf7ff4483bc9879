"""Tables that several workers copy at the same time, range by range, and what is built behind the rows."""
import re

import pytest

from harness.poll import poll_until

SPLIT = {"workers": 3, "split_above": "1MiB"}


def wide(pair, rows=20000, name="wide"):
    """About 6 MiB; returns the statement's table name."""
    pair.source.sql(f"CREATE TABLE {name} (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, v text);"
                    f" INSERT INTO {name} SELECT i, i % 7, repeat(md5(i::text), 8) FROM generate_series(1, {rows}) i")
    pair.source.sql(f"ANALYZE {name}")
    return name


def ranges_of(job, table="wide"):
    found = re.findall(rf'table "public\.{table}" is copied in (\d+) ranges', job.process.err)
    return [int(number) for number in found]


def all_visible(database, table):
    """Several that extend one file leave pages that no row was put into."""
    pages = database.one(f"SELECT count(DISTINCT (ctid::text::point)[0]) FROM ONLY {table}")
    return 0 < pages <= database.one("SELECT relallvisible FROM pg_class WHERE oid = %s::regclass", (table,))


def test_split_table_is_whole_under_updates_that_move_its_rows(pair):
    wide(pair)
    bank = pair.bank(ballast_tables=2, ballast_rows=3000).start()
    job = pair.job(load=SPLIT)
    process = job.start(fault="snapshot.mid_table:sleep:150")
    process.wait_reached("snapshot.mid_table")
    for turn in range(8):
        pair.source.sql(f"UPDATE wide SET n = n + 1, v = v || 'x' WHERE id % 8 = {turn};"
                        f" INSERT INTO wide SELECT 100000 * ({turn} + 1) + i, 0, 'new' FROM generate_series(1, 500) i;"
                        f" DELETE FROM wide WHERE id % 100 = {turn}")
    job.wait_for("running")
    bank.pause_writers()
    pair.wait_equal()
    assert ranges_of(job)[0] > 3


SHAPES = {
    "empty": "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 200000); ANALYZE t; DELETE FROM t",
    "one huge row": "CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL;"
                    " INSERT INTO t VALUES (1, repeat('x', 5000000))",
    "few blocks, much toast": "CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL;"
                              " INSERT INTO t SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 800) i",
    "dropped and generated columns":
        "CREATE TABLE t (gone int, id int PRIMARY KEY, \"the name\" text, twice int GENERATED ALWAYS AS (id * 2) STORED,"
        " last numeric DEFAULT 1.5); INSERT INTO t (gone, id, \"the name\") SELECT i, i, repeat('y', i % 300)"
        " FROM generate_series(1, 30000) i; ALTER TABLE t DROP gone",
    "inheritance": "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE child () INHERITS (t);"
                   " INSERT INTO t SELECT i, repeat('p', 100) FROM generate_series(1, 20000) i;"
                   " INSERT INTO child SELECT i, repeat('c', 100) FROM generate_series(20001, 40000) i;"
                   " ALTER TABLE child ADD PRIMARY KEY (id)",
    "partitions": "CREATE TABLE root (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
                  " CREATE TABLE t PARTITION OF root FOR VALUES FROM (0) TO (20000);"
                  " CREATE TABLE other PARTITION OF root FOR VALUES FROM (20000) TO (90000);"
                  " INSERT INTO root SELECT i, repeat('q', 120) FROM generate_series(1, 40000) i",
    "no column": "CREATE TABLE t (x int); INSERT INTO t SELECT generate_series(1, 100000); ALTER TABLE t DROP x",
    "type without binary form": "CREATE TABLE t (id int PRIMARY KEY, x xml); INSERT INTO t"
                                " SELECT i, ('<a>' || repeat('z', 200) || '</a>')::xml FROM generate_series(1, 10000) i",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_tables_of_every_shape_are_split(pair, shape):
    for statement in SHAPES[shape].split("; "):
        pair.source.sql(statement)
    job = pair.job(load=SPLIT, phases=["schema", "full"], identity="full")
    done = job.run()
    assert done.exit == 0, done.err
    assert ranges_of(job, "t"), done.err
    pair.check_equal()
    if shape != "empty":
        assert all_visible(pair.target, "t")


def test_visibility_map_is_set_for_whole_and_split_tables(pair):
    wide(pair)
    wide(pair, 3000, "narrow")
    done = pair.job(load=SPLIT, phases=["schema", "full"]).run()
    assert done.exit == 0, done.err
    assert ranges_of(pair.jobs[0]) and not ranges_of(pair.jobs[0], "narrow")
    for table in ("wide", "narrow"):
        assert all_visible(pair.target, table)
        assert pair.target.one("SELECT relfrozenxid::text::bigint > 0 FROM pg_class WHERE relname = %s", (table,))
    assert pair.target.sql("SELECT hash FROM walferry.object_state WHERE hash ~ '^(range|vacuum)'") == []
    pair.check_equal()


@pytest.mark.parametrize("side", ["source", "target"])
def test_lost_connection_in_a_range_copies_that_range_again(pair, side):
    wide(pair)
    job = pair.job(load=SPLIT)
    process = job.start(fault="snapshot.mid_table:sleep:800@4")
    process.wait_reached("snapshot.mid_table")
    database = getattr(pair, side)
    copying = "query LIKE 'COPY %%' AND datname = current_database() AND application_name = %s"
    ended = database.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {copying}", (f"walferry_{job.name}",))
    assert ended
    job.wait_for("running")
    pair.wait_equal()
    again = process.err.count("is copied again")
    assert 1 <= again <= len(ended) and len(ranges_of(job)) == 1, process.err
    status = {table["name"]: table for table in job.status()["tables"]}["public.wide"]
    assert status["rows"] == 20000, "bytes and rows of the lost attempt were counted"


def test_commit_whose_answer_was_lost_is_not_repeated(pair):
    """Both ends: the range's COMMIT arrived, but nobody heard so."""
    wide(pair)
    proxy = pair.proxy(pair.target.server)
    job = pair.job(load={"workers": 1, "split_above": "1MiB"}, target_dsn=pair.target.dsn(port=proxy.port))
    process = job.start(fault="snapshot.range_commit:sleep:1000@2")
    process.wait_reached("snapshot.range_commit")
    proxy.swallow_commit_answer()
    poll_until(lambda: pair.target.one("SELECT count(*) FROM walferry.object_state WHERE hash LIKE 'range %'") == 2,
               "the range is committed")
    proxy.tell("reset")
    job.wait_for("running")
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM wide") == 20000
    assert len(ranges_of(job)) == 1, process.err


@pytest.mark.parametrize("point", ["snapshot.range_begin@1", "snapshot.mid_table@3", "snapshot.range_commit@4",
                                   "snapshot.range_end@1", "snapshot.vacuum@1"])
def test_trap_A2_killed_between_ranges_the_table_is_loaded_whole_again(pair, point):
    wide(pair)
    bank = pair.bank(ballast_tables=2, ballast_rows=2000).start()
    job = pair.job(load=SPLIT)
    name, number = point.split("@")
    assert job.start(fault=f"{name}:kill@{number}").wait(60) == -9
    loaded = pair.target.one("SELECT loaded FROM walferry.table_state WHERE table_name = 'wide'")
    assert loaded == (name == "snapshot.vacuum")
    pair.source.sql("UPDATE wide SET v = 'moved' || v WHERE id % 3 = 0; DELETE FROM wide WHERE id % 50 = 0")
    job.start()
    job.wait_for("running")
    assert len(ranges_of(job)) == (0 if loaded else 1)
    bank.pause_writers()
    pair.wait_equal()
    assert pair.target.sql("SELECT hash FROM walferry.object_state WHERE hash ~ '^(range|vacuum)'") == []


def test_trap_A2_killed_twenty_times_in_ranges(pair):
    wide(pair, 30000)
    bank = pair.bank(ballast_tables=1, ballast_rows=2000).start()
    job = pair.job(load=SPLIT)
    for kill in range(20):
        job.start(fault=f"snapshot.{'mid_table' if kill % 2 else 'range_commit'}:kill@{kill % 9 + 1}").wait(60)
        pair.source.sql(f"UPDATE wide SET n = {kill}, v = v || '.' WHERE id % 20 = {kill}")
    job.start()
    job.wait_for("running")
    bank.pause_writers()
    pair.wait_equal()


REWRITES = {
    "vacuum full": "VACUUM FULL wide",
    "alter": "ALTER TABLE wide ALTER v TYPE varchar USING v || ''",
    "truncate": "TRUNCATE wide; INSERT INTO wide SELECT i, 0, 'new' FROM generate_series(1, 700) i",
}


@pytest.mark.parametrize("rewrite", REWRITES)
def test_trap_A10_rewritten_between_two_ranges(pair, rewrite):
    wide(pair)
    wide(pair, 2000, "bystander")
    job = pair.job(load={"workers": 1, "split_above": "1MiB"})
    process = job.start(fault="snapshot.range_commit:sleep:1500@2")
    process.wait_reached("snapshot.range_commit")
    for statement in REWRITES[rewrite].split("; "):
        pair.source.sql(statement)
    if rewrite == "alter":
        assert process.wait(60) == 5, process.err
        assert 'table "public.wide" changed its definition' in process.err
        return
    job.wait_for("running")
    assert "was rewritten since the snapshot" in process.err
    status = {table["name"]: table for table in job.status()["tables"]}["public.wide"]
    assert status["rows"] == (700 if rewrite == "truncate" else 20000), "ranges that were given up are counted"
    pair.source.sql("UPDATE wide SET v = 'later' WHERE id < 10")
    pair.wait_equal()


def test_destination_that_forgot_a_commit_is_found_out(pair):
    """As after a failover to a standby that lacks the last commits: a range's rows and its note are gone."""
    wide(pair)
    job = pair.job(load={"workers": 1, "split_above": "1MiB"})
    process = job.start(fault="snapshot.range_end:sleep:2000@1")
    process.wait_reached("snapshot.range_end")
    pair.target.sql("DELETE FROM walferry.object_state WHERE hash LIKE 'range % 1'; DELETE FROM wide WHERE id % 9 = 0")
    job.wait_for("running")
    assert "does not hold all of its ranges any more" in process.err
    pair.wait_equal()


def test_lock_on_a_split_table_leaves_it_for_later(pair):
    """And the tables beside it are loaded meanwhile."""
    wide(pair, 10000)
    wide(pair, 1000, "beside")
    job = pair.job(load={"workers": 1, "split_above": "1MiB"})
    process = job.start(fault="snapshot.range_commit:sleep:1000@1")
    process.wait_reached("snapshot.range_commit")
    locker = pair.source.connect(autocommit=False)
    locker.cursor().execute("LOCK TABLE wide IN ACCESS EXCLUSIVE MODE")
    poll_until(lambda: "is copied again" in process.err, "the lock was met", 40)
    locker.rollback()
    job.wait_for("running")
    pair.wait_equal()
    locker.close()


# ---- behind the rows ----

def test_snapshot_is_released_before_anything_is_built(pair):
    wide(pair)
    job = pair.job(load=SPLIT)
    process = job.start(fault="snapshot.vacuum:sleep:1500@1")
    process.wait_reached("snapshot.vacuum")
    holders = ("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
               " AND (backend_xmin IS NOT NULL OR backend_type = 'walsender')")
    poll_until(lambda: pair.source.one(holders) == 0, "nobody holds the snapshot", 1)
    job.wait_for("running")
    pair.wait_equal()


def test_primary_keys_are_built_first_and_the_largest_table_begins(pair):
    wide(pair, 3000, "big")
    wide(pair, 100, "little")
    for table in ("big", "little"):
        pair.source.sql(f"CREATE INDEX {table}_a ON {table} (n); ALTER TABLE {table} ADD CONSTRAINT {table}_u UNIQUE (n, id);"
                        f" ANALYZE {table}")
    done = pair.job(load={"workers": 1}, phases=["schema", "full"]).run()
    assert done.exit == 0, done.err
    built = pair.target.sql("SELECT relname FROM pg_class WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace ORDER BY oid")
    assert [name for name, in built] == ["big_pkey", "little_pkey", "big_u", "little_u", "big_a", "little_a"]


def test_index_of_a_split_table_waits_for_its_vacuum_and_others_do_not(pair):
    wide(pair)
    wide(pair, 500, "little")
    job = pair.job(load=SPLIT)
    process = job.start(fault="snapshot.vacuum:sleep:2000@1")
    process.wait_reached("snapshot.vacuum")
    indexes = "SELECT relname FROM pg_class WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace"
    poll_until(lambda: pair.target.sql(indexes) == [("little_pkey",)], "the other table's key is built")
    assert pair.target.one("SELECT count(*) FROM walferry.object_state WHERE hash LIKE 'vacuum %'") == 1
    job.wait_for("running")
    pair.wait_equal()
    assert all_visible(pair.target, "wide")


FAMILY = ("CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 500);"
          " CREATE TABLE child (id int PRIMARY KEY, parent int CONSTRAINT \"its parent\" REFERENCES parent,"
          " other int CONSTRAINT other REFERENCES parent); INSERT INTO child SELECT i, i, i FROM generate_series(1, 500) i;"
          " CREATE TABLE stray (parent int); INSERT INTO stray VALUES (9999);"
          " ALTER TABLE stray ADD CONSTRAINT loose FOREIGN KEY (parent) REFERENCES parent NOT VALID;"
          " CREATE TABLE root (parent int CONSTRAINT of_root REFERENCES parent) PARTITION BY RANGE (parent);"
          " CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (1) TO (1000); INSERT INTO root VALUES (5)")
KEYS = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2"


def family(pair):
    for statement in FAMILY.split("; "):
        pair.source.sql(statement)


def test_foreign_keys_are_validated_afterwards_but_for_those_not_valid_at_the_source(pair):
    family(pair)
    job = pair.job(load={"workers": 2}, phases=["schema", "full"])
    process = job.start(fault="snapshot.validate:sleep:1000@1")
    process.wait_reached("snapshot.validate")
    assert ("other", False) in pair.target.sql(KEYS) and ("of_root", True) in pair.target.sql(KEYS)
    assert process.wait(60) == 0, process.err
    assert pair.target.sql(KEYS) == pair.source.sql(KEYS)


@pytest.mark.parametrize("number", [1, 2])
def test_killed_between_making_and_validating_foreign_keys(pair, number):
    family(pair)
    job = pair.job(load={"workers": 1})
    job.rewrite({"identity": "full"})
    assert job.start(fault=f"snapshot.validate:kill@{number}").wait(60) == -9
    assert pair.target.sql(KEYS) != pair.source.sql(KEYS)
    job.start()
    job.wait_for("running")
    assert pair.target.sql(KEYS) == pair.source.sql(KEYS)
    pair.wait_equal()


def test_settings_of_the_load_are_those_of_its_sessions_only(make_pair):
    """And the hand-over is durable with all that came before: the destination crashes right behind it."""
    pair = make_pair(target={"shared_buffers": "512MB", "maintenance_work_mem": "16MB", "log_statement": "all"})
    wide(pair)
    job = pair.job(load=SPLIT)
    job.start()
    job.wait_for("catching-up")
    pair.target.server.kill9()
    pair.target.server.start()
    job.wait_for("running")
    pair.wait_equal()
    log = pair.target.server.log(0)
    assert "SET LOCAL maintenance_work_mem = '131072kB'" in log
    assert pair.target.one("SHOW maintenance_work_mem") == "16MB" and pair.target.one("SHOW synchronous_commit") == "on"


def test_statistics_of_partitioned_tables_and_materialized_views_are_there(pair):
    for statement in (
            "CREATE TABLE root (id int, kind int) PARTITION BY LIST (kind);"
            " CREATE TABLE one PARTITION OF root FOR VALUES IN (1) PARTITION BY RANGE (id);"
            " CREATE TABLE leaf PARTITION OF one FOR VALUES FROM (0) TO (1000); CREATE TABLE two PARTITION OF root DEFAULT;"
            " INSERT INTO root SELECT i, i % 3 FROM generate_series(1, 900) i",
            "CREATE TABLE plain (id int); INSERT INTO plain SELECT generate_series(1, 100)",
            "CREATE MATERIALIZED VIEW seen AS SELECT kind, count(*) FROM root GROUP BY kind"):
        pair.source.sql(statement)
    done = pair.job(load={"workers": 2}, phases=["schema", "full"], identity="full").run()
    assert done.exit == 0, done.err
    known = pair.target.sql("SELECT DISTINCT tablename, inherited FROM pg_stats WHERE schemaname = 'public' ORDER BY 1, 2")
    assert known == [("leaf", False), ("one", True), ("plain", False), ("root", True), ("seen", False), ("two", False)]


def test_filtered_table_is_split_as_well(pair):
    wide(pair)
    job = pair.job(load=SPLIT, phases=["schema", "full"], objects={
        "tables": {"public.wide": {"where": "n < 3 -- few"}}})
    done = job.run()
    assert done.exit == 0, done.err
    assert ranges_of(job)
    rows = "SELECT count(*), min(id), max(id), sum(n), sum(length(v)) FROM wide"
    assert pair.target.sql(rows) == pair.source.sql(rows + " WHERE n < 3")


def test_renamed_table_is_split_and_its_key_waits_for_its_vacuum(pair):
    wide(pair)
    wide(pair, 500, "little")
    job = pair.job(load=SPLIT, objects={"rename": {"schemas": {"public": "shop"}, "tables": {"public.wide": "shop.the broad"}}})
    process = job.start(fault="snapshot.vacuum:sleep:2000@1")
    process.wait_reached("snapshot.vacuum")
    indexes = "SELECT relname FROM pg_class WHERE relkind = 'i' AND relnamespace = 'shop'::regnamespace"
    poll_until(lambda: pair.target.sql(indexes) == [("little_pkey",)], "the other table's key is built", 10)
    job.wait_for("running")
    assert ranges_of(job)
    rows = "SELECT count(*), sum(n), md5(string_agg(v, ',' ORDER BY id)) FROM "
    assert pair.target.sql(rows + 'shop."the broad"') == pair.source.sql(rows + "wide")
    assert all_visible(pair.target, 'shop."the broad"')


@pytest.mark.parametrize("version", [14, 18])
def test_progress_of_an_index_is_the_server_s_own(version_pair, version):
    pair = version_pair(version, version)
    wide(pair, 3000)
    slow = "FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN {} RETURN $1; END $$"
    pair.source.sql(f"CREATE {slow.format('')}; CREATE TABLE slowly (id int);"
                    " INSERT INTO slowly SELECT generate_series(1, 500); CREATE INDEX slow_index ON slowly (slow(id))")
    pair.source.sql(f"CREATE OR REPLACE {slow.format('PERFORM pg_catalog.pg_sleep(0.002);')}")
    job = pair.job(load={"workers": 2}, identity="full")
    job.start()
    seen = poll_until(lambda: [build for build in job.status()["builds"] if build["table"]], "the build is shown", 30)
    assert "slow_index" in seen[0]["name"]
    assert seen[0]["table"] == "public.slowly" and seen[0]["step"].startswith("index: building index")
    assert 0 <= seen[0]["done"] <= seen[0]["total"]
    job.wait_for("running")
    assert job.status()["builds"] == []


@pytest.mark.parametrize("versions", [(14, 14), (14, 18), (16, 17), (18, 15)], ids=str)
def test_every_version_splits_and_vacuums(version_pair, versions):
    pair = version_pair(*versions)
    wide(pair)
    job = pair.job(load=SPLIT)
    job.start()
    job.wait_for("catching-up")
    assert ranges_of(job)
    job.wait_for("running")
    pair.wait_equal()
    assert all_visible(pair.target, "wide")


def test_range_reads_its_own_blocks_whatever_the_source_s_settings(make_pair):
    """A sequential scan for each range would read the table once for every range."""
    pair = make_pair(source={"enable_tidscan": "off", "jit_above_cost": "0", "auto_explain.log_min_duration": "0",
                             "session_preload_libraries": "auto_explain"})
    wide(pair)
    done = pair.job(load=SPLIT, phases=["schema", "full"]).run()
    assert done.exit == 0, done.err
    entries = re.split(r"\n(?=\d{4}-\d\d-\d\d )", pair.source.server.log(0))
    plans = [entry for entry in entries if "COPY (SELECT" in entry and "plan:" in entry]
    assert len(plans) == ranges_of(pair.jobs[0])[0] > 3
    for plan in plans:
        assert "Tid Range Scan on wide" in plan and "JIT" not in plan, plan
    pair.check_equal()


def test_load_without_a_stream_that_was_killed_in_ranges_begins_again(pair):
    """Everything is of one snapshot: tables that were finished are loaded again, too."""
    wide(pair)
    wide(pair, 4000, "done_first")
    job = pair.job(load={"workers": 1, "split_above": "3MiB"}, phases=["schema", "full"])
    assert job.start(fault="snapshot.range_end:kill@1").wait(60) == -9
    pair.source.sql("UPDATE wide SET n = 99 WHERE id % 2 = 0; INSERT INTO done_first VALUES (9999, 1, 'later')")
    done = job.run()
    assert done.exit == 0, done.err
    pair.check_equal()
    assert all_visible(pair.target, "wide") and all_visible(pair.target, "done_first")
