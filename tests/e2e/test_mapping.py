"""Selection and mapping: what a job takes, what it is called at the destination, which columns and rows travel. The
destination's tables are made here, so that only rows travel (phases full and incremental)."""
import re

import pytest

from harness.bank import SCHEMA
from harness.poll import poll_until

ROWS = {"phases": ["full", "incremental"]}
LONG = "n" * 61 + "_z"  # 63 bytes, the most a server keeps
BANK_TABLES = ["accounts_a", "accounts_b", "accounts_c", "counters", "log", "detail", "documents", "full_rows", "keys",
               "scratch"]


def quoted(*parts):
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def nothing_is_made_on(source):
    assert source.sql("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []
    assert source.sql("SELECT pubname FROM pg_publication") == []
    assert source.sql("SELECT relname FROM pg_class WHERE relname LIKE 'dts\\_%'") == []


def rows(database, query):
    return database.sql(f"SELECT count(*), md5(coalesce(string_agg(r, ' ' ORDER BY r), '')) FROM"
                        f" (SELECT md5(ROW(q.*)::text) AS r FROM ({query}) q) x")[0]


def same(pair, source, target):
    """Two queries, one of each side, give the same rows."""
    left, right = rows(pair.source, source), rows(pair.target, target)
    assert left == right, f"{source}: {left}; {target}: {right}"


def item(job, name):
    items = {each["name"]: each for each in job.call("check", "--json").json()["items"]}
    return items[name]


def refused(pair, said, name, **objects):
    """The run ends with 2 and says so, the check's item is Failed, and the source knows nothing of it."""
    job = pair.job(objects=objects, **ROWS)
    done = job.run()
    assert done.exit == 2, done.err
    assert said in done.err
    nothing_is_made_on(pair.source)
    seen = item(job, name)
    assert seen["state"] == "failed" and said in seen["seen"]
    nothing_is_made_on(pair.source)
    return seen


# ---- other names ----

def bank_at_target(target, schema, table, column):
    """The bank's tables under other names, and views of the names that its oracle knows."""
    target.sql(re.sub(r" REFERENCES (counters|log)|, FOREIGN KEY \(writer, seq\)", "", SCHEMA))
    for name in BANK_TABLES:
        new_schema, new_name = schema(name), table(name)
        target.sql(f"CREATE SCHEMA IF NOT EXISTS {quoted(new_schema)}")
        columns = [row[0] for row in target.sql(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum", (name,))]
        for old in columns:
            if column(name, old) != old:
                target.sql(f"ALTER TABLE {name} RENAME {quoted(old)} TO {quoted(column(name, old))}")
        if new_name != name:
            target.sql(f"ALTER TABLE {name} RENAME TO {quoted(new_name)}")
        target.sql(f"ALTER TABLE {quoted(new_name)} SET SCHEMA {quoted(new_schema)}")
        listed = ", ".join(f"{quoted(column(name, old))} AS {quoted(old)}" for old in columns)
        target.sql(f"CREATE VIEW public.{quoted(name)} AS SELECT {listed} FROM {quoted(new_schema, new_name)}")


def bank_runs_through(pair, job, bank):
    """Loaded while it works, killed, started again, killed, and the same in the end."""
    bank.start()
    watcher = pair.watcher(bank, job)
    job.start()
    job.wait_for("running")
    job.process.kill9()
    job.start()
    job.wait_for("running")
    before = bank.transactions()
    job.drain(pair.source)
    job.process.kill9()
    job.start()
    job.wait_for("running")
    bank.stop()
    assert bank.transactions() > before
    job.drain(pair.source)
    watcher.stop()
    bank.check_prefix(pair.target)
    for name in BANK_TABLES:
        same(pair, f"SELECT * FROM public.{name}", f"SELECT * FROM public.{name}")


@pytest.mark.asan
@pytest.mark.deadline(180)
def test_bank_under_other_names_survives_kills(pair):
    """Schemas, tables and columns; quoted, dotted and 63-byte names."""
    tables = {"log": ("Other \"one\"", "jour.nal"), "keys": ("bank.new", LONG)}
    columns = {("log", "seq"): "the.number", ("accounts_a", "balance"): "Balance \"now\"", ("documents", "body"): LONG}
    bank = pair.bank()
    bank_at_target(pair.target, lambda name: tables.get(name, ("bank.new",))[0],
                   lambda name: tables.get(name, (None, name))[1], lambda name, old: columns.get((name, old), old))
    rename = {"schemas": {"public": "bank.new"},
              "tables": {f"public.{name}": quoted(*new) for name, new in tables.items()},
              "columns": {}}
    for (name, old), new in columns.items():
        rename["columns"].setdefault(f"public.{name}", {})[old] = new
    job = pair.job(objects={"rename": rename}, **ROWS)
    bank_runs_through(pair, job, bank)
    targets = {table["name"]: table["target"] for table in job.status()["tables"]}
    assert targets["public.log"] == 'Other "one".jour.nal' and targets["public.detail"] == "bank.new.detail"
    assert job.process.terminate() == 0
    targets = {table["name"]: table["target"] for table in job.status()["tables"]}
    assert targets["public.keys"] == f"bank.new.{LONG}"


@pytest.mark.deadline(180)
@pytest.mark.parametrize("fold", ["lower", "upper"])
def test_bank_in_another_letter_case(pair, fold):
    bank = pair.bank()
    change = str.upper if fold == "upper" else str.lower
    first = {"accounts_a": "Mixed", "log": "LOG"}  # at the source
    for old, new in first.items():
        pair.source.sql(f"ALTER TABLE {old} RENAME TO {quoted(new)}; "
                        f"CREATE VIEW {old} AS SELECT * FROM {quoted(new)}")
    pair.source.sql('DROP VIEW accounts_a; ALTER TABLE "Mixed" RENAME balance TO "BaLance";'
                    ' CREATE VIEW accounts_a AS SELECT id, "BaLance" AS balance FROM "Mixed"')
    bank_at_target(pair.target, lambda name: "S" if fold == "lower" else "PUBLIC",
                   lambda name: change(first.get(name, name)),
                   lambda name, old: "Note" if (name, old) == ("detail", "note") else change(old))
    rename = {"columns": {"public.detail": {"note": "Note"}}}
    if fold == "lower":
        rename["schemas"] = {"public": "S"}
    else:
        rename["tables"] = {"public.LOG": "PUBLIC.LOG"}
    bank_runs_through(pair, pair.job(objects={"case": fold, "rename": rename}, **ROWS), bank)


@pytest.mark.deadline(180)
def test_bank_is_made_loaded_and_applied_under_other_names(pair):
    """All phases: the definitions, too."""
    bank = pair.bank().start()
    rename = {"schemas": {"public": "Bank"}, "tables": {"public.log": '"x.y".journal'},
              "columns": {"public.log": {"seq": "the.number"}}}
    job = pair.job(objects={"case": "upper", "rename": rename})
    process = job.start(fault="snapshot.mid_table:sleep:200")
    process.wait_reached("snapshot.mid_table")
    process.kill9()
    job.start()
    job.wait_for("running")
    job.process.kill9()
    job.start()
    job.wait_for("running")
    bank.stop()
    job.drain(pair.source)
    for name in BANK_TABLES:
        same(pair, f"SELECT * FROM {name}",
             'SELECT * FROM "x.y".journal' if name == "log" else f'SELECT * FROM "Bank".{quoted(name.upper())}')
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum LIMIT 2"
    assert pair.target.sql(columns, ('"x.y".journal',)) == [("WRITER",), ("the.number",)]
    assert pair.target.one("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace IN"
                           " ('\"Bank\"'::regnamespace, '\"x.y\"'::regnamespace)") == 2


PARTED = """
CREATE TABLE {root} ({id} int, {region} text, {v} text, PRIMARY KEY ({id}, {region})) PARTITION BY LIST ({region});
CREATE TABLE {eu} PARTITION OF {root} FOR VALUES IN ('eu');
CREATE TABLE {rest} PARTITION OF {root} DEFAULT PARTITION BY RANGE ({id});
CREATE TABLE {rest_low} PARTITION OF {rest} FOR VALUES FROM (0) TO (1000);
CREATE TABLE {base} (a int PRIMARY KEY, {b} text);
CREATE TABLE {child} (c text, PRIMARY KEY (a)) INHERITS ({base});"""
OLD = {"root": "parted", "id": "id", "region": "region", "v": "v", "eu": "parted_eu", "rest": "parted_rest",
       "rest_low": "parted_low", "base": "base", "b": "b", "child": "child"}
NEW = {"root": '"Root"', "id": '"Key"', "region": '"the.region"', "v": "v", "eu": 'x."Leaf"', "rest": "parted_rest",
       "rest_low": "parted_low", "base": "base", "b": '"B"', "child": "child"}


@pytest.mark.asan
def test_partitions_and_inheritance_follow_their_topmost_table(pair):
    """Names of columns come from the root; a leaf has a name of its own. TRUNCATE finds them all."""
    pair.source.sql(PARTED.format(**OLD))
    pair.target.sql("CREATE SCHEMA x;" + PARTED.format(**NEW))
    pair.source.sql("INSERT INTO parted SELECT i, CASE WHEN i % 2 = 0 THEN 'eu' ELSE 'us' END, 'v' || i"
                    " FROM generate_series(1, 100) i; INSERT INTO base SELECT i, 'b' FROM generate_series(1, 9) i;"
                    " INSERT INTO child SELECT i, 'b', 'c' FROM generate_series(10, 19) i")
    job = pair.running_job(objects={"rename": {
        "tables": {"public.parted": "public.Root", "public.parted_eu": "x.Leaf"},
        "columns": {"public.parted": {"id": "Key", "region": "the.region"}, "public.base": {"b": "B"}}}}, **ROWS)

    def equal():
        job.drain(pair.source)
        same(pair, "SELECT id, region, v, tableoid = 'parted_eu'::regclass FROM parted",
             'SELECT "Key", "the.region", v, tableoid = \'x."Leaf"\'::regclass FROM "Root"')
        same(pair, "SELECT * FROM ONLY base", "SELECT * FROM ONLY base")
        same(pair, "SELECT * FROM child", "SELECT * FROM child")
    equal()
    pair.source.sql("UPDATE parted SET region = 'eu' WHERE id < 20; UPDATE parted SET v = 'new' WHERE id > 90;"
                    " DELETE FROM parted WHERE id = 50; UPDATE base SET b = 'changed' WHERE a % 3 = 0")
    equal()
    pair.source.sql("TRUNCATE parted; INSERT INTO parted VALUES (7, 'eu', 'after'); TRUNCATE ONLY base")
    equal()
    assert pair.target.one('SELECT count(*) FROM "Root"') == 1


def test_what_the_source_drops_while_nobody_reads_keeps_its_names(pair):
    """Changes from before arrive after the drop of a renamed column, of a partition's, and of a renamed table."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE gone (id int PRIMARY KEY, v text);"
                    + PARTED.format(**OLD))
    pair.target.sql('CREATE SCHEMA x; CREATE TABLE "T" (id int PRIMARY KEY, "V" text);'
                    'CREATE TABLE x."Gone" ("ID" int PRIMARY KEY, v text);' + PARTED.format(**NEW | {"v": '"V"'}))
    rename = {"tables": {"public.t": "public.T", "public.gone": "x.Gone", "public.parted": "public.Root",
                         "public.parted_eu": "x.Leaf"},
              "columns": {"public.t": {"v": "V"}, "public.gone": {"id": "ID"}, "public.base": {"b": "B"},
                          "public.parted": {"id": "Key", "region": "the.region", "v": "V"}}}
    job = pair.running_job(objects={"rename": rename}, **ROWS)
    job.process.kill9()
    pair.source.sql("INSERT INTO t VALUES (1, 'a'); INSERT INTO gone VALUES (1, 'b');"
                    " INSERT INTO parted VALUES (1, 'eu', 'c')")
    pair.source.sql("ALTER TABLE t DROP v; ALTER TABLE parted DROP v; DROP TABLE gone")
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    assert pair.target.sql('SELECT id, "V" FROM "T"') == [(1, "a")]
    assert pair.target.sql('SELECT "ID", v FROM x."Gone"') == [(1, "b")]
    assert pair.target.sql('SELECT "Key", "the.region", "V" FROM x."Leaf"') == [(1, "eu", "c")]


def test_a_new_column_is_named_with_both_names(pair):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.target.sql('CREATE SCHEMA x; CREATE TABLE x."T" (id int PRIMARY KEY, v text)')
    job = pair.running_job(objects={"rename": {"tables": {"public.t": "x.T"}}}, **ROWS)
    pair.source.sql("ALTER TABLE t ADD more int; INSERT INTO t VALUES (1, 'a', 2)")
    assert job.process.wait() == 5
    assert 'table "public.t" has changed on the source: added "more" integer' in job.process.err
    assert 'ALTER TABLE "x"."T" ADD COLUMN "more" integer' in job.process.err
    pair.target.sql('ALTER TABLE x."T" ADD more int')
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    same(pair, "SELECT * FROM t", 'SELECT * FROM x."T"')


def test_sequences_go_with_their_tables(pair):
    """One that a table owns goes with it, a shared one with whoever uses it; others that the job does not take stay."""
    pair.source.sql("CREATE SEQUENCE shared; CREATE SEQUENCE alone; SELECT nextval('alone');"
                    "CREATE TABLE t (id serial PRIMARY KEY, n int DEFAULT nextval('shared'));"
                    "CREATE TABLE other (id serial PRIMARY KEY);"
                    "INSERT INTO t SELECT FROM generate_series(1, 7); INSERT INTO other SELECT FROM generate_series(1, 7)")
    job = pair.job(objects={"include": ["public.t"]})
    assert job.run("--until", "now").exit == 0
    carried = dict(pair.target.sql("SELECT sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL"
                                   " AND schemaname = 'public'"))
    assert carried == {"t_id_seq": 7, "shared": 7}


# ---- what is taken ----

def test_only_what_the_patterns_take_is_loaded_and_streamed(pair):
    tables = ["sales.orders", "sales.tmp_1", "sales.parted", "public.customer", "public.other",
              '"we.ird"."ta.ble"']
    for side in (pair.source, pair.target):
        side.sql('CREATE SCHEMA sales; CREATE SCHEMA "we.ird"')
        for table in tables:
            tail = " PARTITION BY RANGE (id)" if "parted" in table else ""
            side.sql(f"CREATE TABLE {table} (id int PRIMARY KEY){tail}")
        side.sql("CREATE TABLE public.leaf PARTITION OF sales.parted FOR VALUES FROM (0) TO (100);"
                 "CREATE TABLE public.out PARTITION OF sales.parted FOR VALUES FROM (100) TO (200)")
    for table in tables:
        pair.source.sql(f"INSERT INTO {table} VALUES (1)")
    pair.source.sql("INSERT INTO sales.parted VALUES (101)")
    job = pair.running_job(objects={"include": ["sales.*", "public.customer", '"we.ird".*', "!sales.tmp_*"],
                                    "exclude": ["public.out"]}, **ROWS)
    for table in tables:
        pair.source.sql(f"INSERT INTO {table} VALUES (2)")
    pair.source.sql("INSERT INTO sales.parted VALUES (102)")
    job.drain(pair.source)
    taken = {table["name"] for table in job.status()["tables"]}
    assert taken == {"sales.orders", "public.customer", "public.leaf", "we.ird.ta.ble"}
    for table in tables:
        expected = 0 if table in ("sales.tmp_1", "public.other") else 2
        assert pair.target.one(f"SELECT count(*) FROM {table}") == expected, table


# ---- column lists and row filters ----

WIDE = "CREATE TABLE wide (id int, region text, v text, secret text, n int, PRIMARY KEY (id, region))"


@pytest.mark.asan
def test_columns_and_rows_are_cut_in_the_load_and_in_the_stream(pair):
    """Rows enter and leave the filter by UPDATE."""
    pair.source.sql(WIDE + "; INSERT INTO wide SELECT i, CASE WHEN i % 2 = 0 THEN 'eu' ELSE 'us' END, 'v' || i, 'x', i"
                    " FROM generate_series(1, 100) i")
    pair.target.sql('CREATE TABLE wide (n int, region text, "Id" int, v text, PRIMARY KEY ("Id", region))')
    job = pair.running_job(objects={
        "rename": {"columns": {"public.wide": {"id": "Id"}}},
        "tables": {"public.wide": {"where": "region = 'eu' AND id < 1000 -- no more", "columns": ["n", "v", "id", "region"]}}},
        **ROWS)

    def equal(count):
        job.drain(pair.source)
        same(pair, "SELECT id, region, v, n FROM wide WHERE region = 'eu' AND id < 1000",
             'SELECT "Id", region, v, n FROM wide')
        assert pair.target.one("SELECT count(*) FROM wide") == count
    equal(50)
    pair.source.sql("UPDATE wide SET region = 'eu' WHERE id <= 20 AND region = 'us'")
    equal(60)
    pair.source.sql("UPDATE wide SET region = 'us' WHERE id <= 15")
    equal(45)
    pair.source.sql("UPDATE wide SET v = 'new', secret = 'y'; UPDATE wide SET secret = 'z';"
                    " DELETE FROM wide WHERE id > 80; INSERT INTO wide VALUES (2000, 'eu'), (200, 'eu'), (201, 'us')")
    equal(36)
    pair.source.sql("UPDATE wide SET id = id + 1000 WHERE id BETWEEN 21 AND 30")
    equal(31)
    job.process.kill9()
    pair.source.sql("UPDATE wide SET id = id - 1000 WHERE id BETWEEN 1021 AND 1030")
    job.start()
    job.wait_for("running")
    equal(36)
    job.process.kill9()
    pair.source.sql("TRUNCATE wide; INSERT INTO wide VALUES (1, 'eu'), (2, 'us')")
    job.start()
    job.wait_for("running")
    equal(1)


def test_columns_that_only_the_target_has_keep_their_values(pair):
    """Also where an identity column changes, which no UPDATE can set: the row is made again."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text, s text);"
                    " INSERT INTO t (id, v) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    pair.target.sql('CREATE TABLE t (id int PRIMARY KEY, "Own" text DEFAULT \'d\', n int GENERATED ALWAYS AS IDENTITY,'
                    ' v text, g int GENERATED ALWAYS AS (id + 1) STORED)')
    job = pair.running_job(objects={"tables": {"public.t": {"columns": ["id", "n", "v"]}}}, **ROWS)
    pair.target.sql('UPDATE t SET "Own" = \'mine\'')
    pair.source.sql("UPDATE t SET v = 'x' WHERE id = 1; UPDATE t SET id = 7 WHERE id = 2; UPDATE t SET n = DEFAULT WHERE id = 3")
    job.drain(pair.source)
    same(pair, "SELECT id, n, v FROM t", "SELECT id, n, v FROM t")
    assert pair.target.sql('SELECT id, "Own", g FROM t ORDER BY 1') == [(1, "mine", 2), (3, "mine", 4), (7, "mine", 8)]


def test_a_filtered_table_is_loaded_by_ranges(pair):
    """Under another name, and while its rows move."""
    pair.source.sql("CREATE TABLE wide (id int PRIMARY KEY, v text, n int);"
                    "INSERT INTO wide SELECT i, repeat(md5(i::text), 10), i FROM generate_series(1, 20000) i")
    pair.target.sql('CREATE SCHEMA x; CREATE TABLE x."W" (n int, "Id" int PRIMARY KEY)')
    job = pair.job(load={"workers": 2, "split_above": "1MiB"}, objects={
        "rename": {"tables": {"public.wide": "x.W"}, "columns": {"public.wide": {"id": "Id"}}},
        "tables": {"public.wide": {"where": "id % 3 = 0 -- some", "columns": ["id", "n"]}}}, **ROWS)
    process = job.start(fault="snapshot.mid_table:sleep:50")
    process.wait_reached("snapshot.mid_table")
    for turn in range(4):
        pair.source.sql(f"UPDATE wide SET n = -n WHERE id % 7 = {turn}; UPDATE wide SET id = id + 100001"
                        f" WHERE id % 1000 = {turn} AND id < 100000; DELETE FROM wide WHERE id % 500 = {turn + 7}")
    job.wait_for("running")
    job.drain(pair.source)
    same(pair, "SELECT id, n FROM wide WHERE id % 3 = 0", 'SELECT "Id", n FROM x."W"')


@pytest.mark.parametrize("way", ["keep", "truncate"])
def test_existing_rows_under_another_name(pair, way):
    for side, table, key in ((pair.source, "t", "id"), (pair.target, "x.t2", '"Key"')):
        side.sql(f"CREATE SCHEMA IF NOT EXISTS x; CREATE TABLE {table} ({key} int PRIMARY KEY, v text)")
    pair.source.sql("INSERT INTO t SELECT i, 'source' FROM generate_series(1, 10) i")
    pair.target.sql("INSERT INTO x.t2 SELECT i, 'target' FROM generate_series(6, 15) i")
    job = pair.running_job(existing=way, objects={"rename": {
        "tables": {"public.t": "x.t2"}, "columns": {"public.t": {"id": "Key"}}}}, phases=["full", "incremental"])
    pair.source.sql("UPDATE t SET v = 'later' WHERE id IN (5, 7)")
    job.drain(pair.source)
    found = dict(pair.target.sql('SELECT "Key", v FROM x.t2'))
    kept = {6: "target", 8: "target", 9: "target", 10: "target", **{i: "target" for i in range(11, 16)}}
    assert found == {i: "source" for i in range(1, 11)} | (kept if way == "keep" else {}) | {5: "later", 7: "later"}


def test_filters_of_a_root_hold_for_its_leaves(pair):
    tables = PARTED.format(**OLD)
    pair.source.sql(tables)
    pair.target.sql(tables)
    pair.source.sql("INSERT INTO parted SELECT i, 'eu', 'a' FROM generate_series(1, 50) i;"
                    " INSERT INTO parted SELECT i, 'us', 'b' FROM generate_series(1, 50) i")
    job = pair.running_job(objects={"tables": {
        "public.parted": {"where": "id > 10", "columns": ["id", "region"]},
        "public.parted_low": {"where": "id > 40"}}}, **ROWS)
    pair.source.sql("INSERT INTO parted VALUES (60, 'eu', 'c'), (60, 'us', 'c'), (0, 'eu', 'c'), (0, 'us', 'c')")
    job.drain(pair.source)
    assert pair.target.sql("SELECT region, count(*), min(id), count(v) FROM parted GROUP BY 1 ORDER BY 1") == \
        [("eu", 41, 11, 0), ("us", 11, 41, 0)]


def test_a_job_keeps_its_names_and_filters(pair):
    """Also when somebody changes the publication. The server writes a filter in other words than the job does."""
    pair.source.sql(WIDE)
    pair.target.sql('CREATE SCHEMA x; CREATE TABLE x."W" (id int, region text, v text, secret text, n int,'
                    " PRIMARY KEY (id, region)); " + WIDE)
    begun = {"rename": {"tables": {"public.wide": "x.W"}},
             "tables": {"public.wide": {"where": "id > 5 AND region > 'a' AND id IN (1, 7, 8, 9)"}}}
    job = pair.running_job(objects=begun, **ROWS)
    assert job.process.terminate() == 0
    for other in ({"rename": {"tables": {"public.wide": "public.wide"}}}, {"case": "lower"},
                  {"tables": {"public.wide": {"where": "id > 6"}}},
                  {"tables": {"public.wide": {"columns": ["id", "region"]}}}):
        job.rewrite({"objects": None})
        job.rewrite({"objects": {**begun, **other}})
        done = job.run("--until", "now")
        assert done.exit == 2 and "was begun with other names, row filters or column lists" in done.err, other
    job.rewrite({"objects": None})
    job.rewrite({"objects": begun})
    assert job.run("--until", "now").exit == 0
    for change in ("wide", "wide WHERE (id > 5)", "wide (id, region) WHERE (id > 5 AND region > 'a')"):
        pair.source.sql(f"ALTER PUBLICATION {job.slot} SET TABLE ONLY {change}, ONLY dts_postgres_heartbeat")
        done = job.run("--until", "now")
        assert done.exit == 3 and "public.wide" in done.err, done.err


def test_a_publication_of_the_users_has_to_cut_as_the_job_says(pair):
    pair.source.sql(WIDE + "; INSERT INTO wide SELECT i, 'eu' FROM generate_series(1, 10) i;"
                    "CREATE TABLE dts_beat (id int); CREATE PUBLICATION theirs FOR TABLE wide (region, id, n) WHERE (id > 5)"
                    " WITH (publish_via_partition_root = false)")
    pair.target.sql(WIDE)
    config = {**ROWS, "source": {"publication": "theirs", "heartbeat": "0"}}
    for cut in ({"where": "id > 5"}, {"columns": ["id", "region", "n"]},
                {"columns": ["id", "region", "n"], "where": "id > 4"}):
        done = pair.job(objects={"tables": {"public.wide": cut}}, **config).run()
        assert done.exit == 2 and "filters them otherwise" in done.err, done.err
    job = pair.job(objects={"tables": {"public.wide": {"columns": ["id", "region", "n"], "where": "((id) >   5)"}}}, **config)
    job.start()
    job.wait_for("running")
    pair.source.sql("UPDATE wide SET n = 7, v = 'x'; INSERT INTO wide VALUES (20, 'eu'), (0, 'eu')")
    same_soon = "SELECT id, region, n, NULL::text FROM wide WHERE id > 5"
    poll_until(lambda: rows(pair.source, same_soon) == rows(pair.target, "SELECT id, region, n, v FROM wide"),
               "the rows are the same")


FILTERS = ["v LIKE 'a%' OR n IS NULL", "n BETWEEN 1 AND 5", "NOT (b)", "b", "at > '2020-01-01' AND at < '2030-01-01 CET'",
           "coalesce(n, 0) + 1 > 2", "CASE WHEN b THEN n > 1 ELSE v = 'x' END", "v IN ('a', 'b''c')", "true",
           "n <> ALL ('{1,2}') /* a */ -- b", "(v, n) > ('a', 1)", "v COLLATE \"C\" < 'm'", "d = 1.50", "d::int = 1"]


def test_every_form_of_a_filter_is_known_again(pair):
    """The stored filter has other words; the second run must find it to be the job's."""
    for side in (pair.source, pair.target):
        for number in range(len(FILTERS)):
            side.sql(f"CREATE TABLE f{number} (v text, n int, b bool, at timestamptz, d numeric(9, 2));"
                     f"ALTER TABLE f{number} REPLICA IDENTITY FULL")
    for number in range(len(FILTERS)):
        pair.source.sql(f"INSERT INTO f{number} SELECT chr(96 + i), nullif(i, 9), i % 2 = 0, '2025-01-01', i / 2.0"
                        " FROM generate_series(1, 20) i")
    job = pair.job(objects={"tables": {f"public.f{number}": {"where": where}
                                       for number, where in enumerate(FILTERS)}}, **ROWS)
    for _ in range(2):
        done = job.run("--until", "now")
        assert done.exit == 0, done.err
        for number, where in enumerate(FILTERS):
            same(pair, f"SELECT * FROM f{number} WHERE {where}\n", f"SELECT * FROM f{number}")
            pair.source.sql(f"UPDATE f{number} SET n = n + 1, b = NOT b, v = v || 'x'")


@pytest.mark.parametrize("identity", ["default", "full"])
def test_trap_A4_a_large_value_of_a_row_that_enters(pair, identity):
    """Sent only under FULL; else the check warns, and the job stops rather than lose it."""
    pair.source.sql(f"CREATE TABLE big (id int PRIMARY KEY, v text); ALTER TABLE big REPLICA IDENTITY {identity};"
                    "ALTER TABLE big ALTER v SET STORAGE EXTERNAL;"
                    "INSERT INTO big VALUES (1, repeat('x', 100000)), (20, 'small')")
    pair.target.sql("CREATE TABLE big (id int PRIMARY KEY, v text)")
    job = pair.job(objects={"tables": {"public.big": {"where": "id > 10"}}}, **ROWS)
    assert item(job, "row-filters")["state"] == ("passed" if identity == "full" else "alert")
    job.start()
    job.wait_for("running")
    pair.source.sql("UPDATE big SET id = 11 WHERE id = 1")
    if identity == "full":
        job.drain(pair.source)
        assert pair.target.sql("SELECT id, length(v) FROM big ORDER BY 1") == [(11, 100000), (20, 5)]
    else:
        assert job.process.wait() == 5
        assert 'did not send the value of column "v"' in job.process.err
        assert pair.target.sql("SELECT id FROM big") == [(20,)]


def test_a_load_alone_takes_any_filter(pair):
    """What no publication would take: volatile functions, other tables, columns outside the identity."""
    pair.source.sql(WIDE + "; CREATE TABLE allowed (n int); INSERT INTO allowed VALUES (3), (5);"
                    " INSERT INTO wide SELECT i, 'eu', 'v', 's', i FROM generate_series(1, 10) i")
    pair.target.sql("CREATE TABLE wide (n int, v text)")
    job = pair.job(phases=["full"], objects={"include": ["public.wide"], "tables": {"public.wide": {
        "columns": ["v", "n"], "where": "n IN (SELECT a.n FROM public.allowed a) AND random() < 2"}}})
    assert job.run().exit == 0
    assert pair.target.sql("SELECT n, v FROM wide ORDER BY 1") == [(3, "v"), (5, "v")]


def test_a_filter_is_one_condition(pair):
    """Beside the condition of a range "a) OR (b" would take rows once for each range."""
    table = "CREATE TABLE t (id int, v text)"
    pair.source.sql(table + "; INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 9000) i")
    pair.target.sql(table)
    for where in ("id > 10) OR (id < 5", "true) LIMIT (3", "id > 3) --", "id > 3; DELETE FROM t", "id > $1"):
        job = pair.job(phases=["full"], load={"workers": 2, "split_above": "1MiB"},
                       objects={"tables": {"public.t": {"where": where}}})
        done = job.run()
        assert done.exit == 2 and 'the row filter of table "public.t" is refused' in done.err, where
    assert pair.target.one("SELECT count(*) FROM t") == 0


# ---- trap A1: the users' work at the source goes on ----

CUT = {
    "filter outside the identity": (WIDE, {"where": "n > 5"}, 'names column "n"'),
    "list without the key": (WIDE, {"columns": ["id", "v"]}, 'leaves out "region"'),
    "list under full": (WIDE + "; ALTER TABLE wide REPLICA IDENTITY FULL", {"columns": ["id", "region"]},
                        "permits no column list"),
    "filter by another index": (
        WIDE + "; ALTER TABLE wide ALTER n SET NOT NULL; CREATE UNIQUE INDEX u ON wide (n);"
        " ALTER TABLE wide REPLICA IDENTITY USING INDEX u", {"where": "id > 5"}, 'names column "id"'),
    "volatile filter": (WIDE, {"where": "random() < 0.5"}, "cannot be published"),
    "function of the users'": (
        WIDE + "; CREATE FUNCTION f(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 5'",
        {"where": "public.f(id)"}, "cannot be published"),
    "no sentence": (WIDE, {"where": "id >"}, "is refused"),
    "no such column": (WIDE, {"where": "nothing > 5"}, "is refused"),
    "two sentences": (WIDE, {"where": "true); SELECT (true"}, "is refused"),
    "an answer's end": (WIDE, {"where": "true) UNION ALL SELECT FROM public.wide WHERE (true"}, "is refused"),
}


@pytest.mark.parametrize("kind", CUT)
def test_trap_A1_nothing_is_published_that_would_stop_the_users(pair, kind):
    table, cut, said = CUT[kind]
    pair.source.sql(table)
    pair.target.sql(WIDE)
    seen = refused(pair, said, "row-filters", tables={"public.wide": cut})
    assert seen["fix"]
    pair.source.sql("INSERT INTO wide VALUES (1, 'eu', 'v', 's', 1); UPDATE wide SET n = 9; UPDATE wide SET id = 2;"
                    " DELETE FROM wide WHERE n = 9")


def test_trap_A1_no_full_identity_with_a_generated_column_is_published(make_pair):
    """From 18 on the server would refuse every UPDATE of the users, filter or not."""
    pair = make_pair(source={"version": 18}, target={"version": 18})
    tables = ("CREATE TABLE had (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED);"
              " CREATE TABLE gets (id int, g int GENERATED ALWAYS AS (id * 2) VIRTUAL);")
    pair.source.sql(tables + "ALTER TABLE had REPLICA IDENTITY FULL; INSERT INTO had VALUES (1); INSERT INTO gets VALUES (1)")
    pair.target.sql(tables)
    job = pair.job(identity="full", **ROWS)
    done = job.run()
    assert done.exit == 2 and "2 tables with a generated column" in done.err, done.err
    assert item(job, "replica-identity")["state"] == "failed"
    nothing_is_made_on(pair.source)
    pair.source.sql("UPDATE had SET id = 2; UPDATE gets SET id = 2; DELETE FROM had")
    pair.source.sql("ALTER TABLE had REPLICA IDENTITY DEFAULT; ALTER TABLE gets ADD PRIMARY KEY (id)")
    job.start()
    job.wait_for("running")
    pair.source.sql("INSERT INTO had VALUES (3); UPDATE had SET id = 4; UPDATE gets SET id = 5")
    job.drain(pair.source)
    assert pair.target.sql("SELECT * FROM had UNION ALL SELECT * FROM gets") == [(4, 8), (5, 10)]


def test_foreign_keys_to_filtered_tables_are_told(pair):
    pair.source.sql("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent)")
    for filtered, state in (("parent", "alert"), ("child", "passed")):
        seen = item(pair.job(objects={"tables": {f"public.{filtered}": {"where": "id > 1"}}}), "row-filters")
        assert seen["state"] == state and (state == "passed" or "child_p_fkey on table public.child" in seen["seen"]), seen


def test_trap_A1_a_filter_that_cannot_be_tried_is_not_made(pair):
    """Somebody else's VACUUM or CREATE INDEX CONCURRENTLY holds such a lock."""
    pair.source.sql(WIDE)
    pair.target.sql(WIDE)
    connection = pair.source.connect(autocommit=False)
    connection.cursor().execute("LOCK TABLE wide IN SHARE UPDATE EXCLUSIVE MODE")
    refused(pair, "could not be tried: the table is locked", "row-filters", tables={"public.wide": {"where": "id > 5"}})
    connection.close()
    assert pair.job(objects={"tables": {"public.wide": {"where": "id > 5"}}}, **ROWS).run("--until", "now").exit == 0


def test_trap_A1_a_full_identity_lets_any_column_filter(pair):
    pair.source.sql(WIDE + "; ALTER TABLE wide REPLICA IDENTITY FULL; INSERT INTO wide VALUES (1, 'eu', 'v', 's', 9)")
    pair.target.sql(WIDE)
    job = pair.running_job(objects={"tables": {"public.wide": {"where": "n > 5"}}}, **ROWS)
    pair.source.sql("INSERT INTO wide VALUES (2, 'eu', 'v', 's', 1); UPDATE wide SET n = 10 - n; DELETE FROM wide WHERE id = 7")
    job.drain(pair.source)
    same(pair, "SELECT * FROM wide WHERE n > 5", "SELECT * FROM wide")
    assert pair.target.one("SELECT id FROM wide") == 2


def test_an_insert_only_table_may_be_cut_anywhere(pair):
    pair.source.sql("CREATE TABLE facts (id int, n int, v text)")
    pair.target.sql("CREATE TABLE facts (id int, n int)")
    job = pair.running_job(identity="insert-only", objects={"tables": {"public.facts": {
        "where": "n > 5", "columns": ["id", "n"]}}}, **ROWS)
    pair.source.sql("INSERT INTO facts SELECT i, i, 'v' FROM generate_series(1, 10) i; UPDATE facts SET v = 'user'")
    job.drain(pair.source)
    assert pair.target.one("SELECT count(*) FROM facts") == 5


def test_a_source_of_14_refuses_to_cut_its_stream(version_pair):
    pair = version_pair(14, 15)
    pair.source.sql(WIDE)
    pair.target.sql(WIDE)
    refused(pair, "from PostgreSQL 15 on", "row-filters", tables={"public.wide": {"where": "id > 5"}})
    refused(pair, "from PostgreSQL 15 on", "row-filters",
            tables={"public.wide": {"columns": ["id", "region", "v", "secret", "n"]}})
    pair.source.sql("INSERT INTO wide SELECT i, 'eu' FROM generate_series(1, 9) i")
    job = pair.job(phases=["full"], objects={"tables": {"public.wide": {"where": "id > 5"}}})
    assert job.run().exit == 0
    assert pair.target.one("SELECT count(*) FROM wide") == 4


# ---- names that cannot be ----

def test_two_things_with_one_name_are_refused(pair):
    pair.source.sql('CREATE TABLE a (id int PRIMARY KEY, v int, "V" int); CREATE TABLE "A" (id int PRIMARY KEY)')
    refused(pair, 'tables "public.A" and "public.a" would both be "public.a" at the target', "objects", case="lower",
            rename={"schemas": {"public": "public"}})
    refused(pair, 'would both be "x.y" at the target', "objects",
            rename={"tables": {"public.a": "x.y", "public.A": "x.y"}})
    refused(pair, 'columns "V" and "v" of table "public.a" would both be "V" at the target', "objects",
            rename={"columns": {"public.a": {"v": "V"}}})


RESERVED = {
    "walferry's": {"objects": {"rename": {"tables": {"public.t": "walferry.job"}}}},
    "walferry's under another name": {"target": {"state_schema": "mine"},
                                      "objects": {"rename": {"schemas": {"public": "mine"}}}},
    "walferry's in another case": {"objects": {"include": ["Walferry.*"], "case": "lower"}},
    "the server's": {"objects": {"rename": {"tables": {"public.t": "pg_catalog.t"}}}},
    "the standard's": {"objects": {"rename": {"schemas": {"public": "information_schema"}}}},
}


@pytest.mark.parametrize("kind", RESERVED)
@pytest.mark.parametrize("way", ["fail", "drop"])
def test_schemas_that_are_not_free_are_refused(pair, kind, way):
    """Also with `existing: drop`, which would drop the job's own record."""
    pair.source.sql('CREATE TABLE t (id int PRIMARY KEY); CREATE SCHEMA "Walferry"; CREATE TABLE "Walferry".job (id int PRIMARY KEY)')
    job = pair.job(existing=way, **RESERVED[kind])
    done = job.run()
    assert done.exit == 2 and "would be in schema" in done.err, done.err
    nothing_is_made_on(pair.source)


SWAPPED = "CREATE TABLE a (id int PRIMARY KEY, x text, y text); CREATE TABLE b (id int PRIMARY KEY, x text, y text)"


@pytest.mark.parametrize("way", ["fail", "keep", "truncate", "drop"])
def test_two_tables_and_two_columns_change_their_names_for_each_other(pair, way):
    pair.source.sql(SWAPPED + "; INSERT INTO a SELECT i, 'ax', 'ay' FROM generate_series(1, 5) i;"
                    " INSERT INTO b SELECT i, 'bx', 'by' FROM generate_series(1, 7) i")
    if way != "fail":
        pair.target.sql(SWAPPED + "; INSERT INTO a VALUES (100, 'old', 'old')")
    job = pair.running_job(existing=way, objects={"rename": {
        "tables": {"public.a": "public.b", "public.b": "public.a"}, "columns": {"public.a": {"x": "y", "y": "x"}}}})
    pair.source.sql("INSERT INTO a VALUES (50, 'x', 'y'); UPDATE b SET x = 'new' WHERE id = 1; UPDATE a SET id = 51 WHERE id = 1")
    job.drain(pair.source)
    same(pair, "SELECT id, x, y FROM a", "SELECT id, y, x FROM b")
    same(pair, "SELECT * FROM b", "SELECT * FROM a WHERE id <> 100")
    assert pair.target.one("SELECT count(*) FROM a WHERE id = 100") == (way == "keep")
    pair.source.sql("TRUNCATE b; INSERT INTO b VALUES (1, 'q', 'r')")
    job.drain(pair.source)
    assert pair.target.sql("SELECT * FROM a") == [(1, "q", "r")]
    same(pair, "SELECT id, x, y FROM a", "SELECT id, y, x FROM b")


UNKNOWN = {
    "schema": ({"rename": {"schemas": {"pubic": "x"}}}, 'schema "pubic"', "public"),
    "table": ({"rename": {"tables": {"public.custmer": "x.y"}}}, '"public.custmer"', "public.customer"),
    "include": ({"include": ["public.customr"]}, '"public.customr"', "public.customer"),
    "filtered": ({"tables": {"public.cstomer": {"where": "true"}}}, '"public.cstomer"', "public.customer"),
    "column": ({"rename": {"columns": {"public.customer": {"nmae": "x"}}}}, 'column "nmae"', "name"),
    "listed": ({"tables": {"public.customer": {"columns": ["id", "nam"]}}}, 'column "nam"', "name"),
    "not taken": ({"include": ["public.other"], "rename": {"tables": {"public.customer": "x.y"}}},
                  '"public.customer", which the job does not take', "objects.include"),
    "inherited": ({"rename": {"columns": {"public.leaf": {"id": "x"}}}}, '"public.leaf", which inherits it', "topmost"),
    "nothing": ({"include": ["nothing.*"]}, "takes no table", ""),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_names_that_the_source_has_not_are_told_with_the_nearest(pair, kind):
    objects, said, hint = UNKNOWN[kind]
    pair.source.sql("CREATE TABLE customer (id int PRIMARY KEY, name text); CREATE TABLE other (id int PRIMARY KEY);"
                    "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);"
                    "CREATE TABLE leaf PARTITION OF parted FOR VALUES FROM (0) TO (9)")
    assert hint in refused(pair, said, "objects", **objects)["fix"]


def test_a_table_that_is_dropped_later_stops_nobody(pair):
    """What the job names has to be there at its birth only."""
    tables = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)"
    pair.source.sql(tables)
    pair.target.sql(tables)
    job = pair.running_job(objects={"include": ["public.a", "public.b"], "tables": {"public.b": {"where": "id > 0"}}},
                           **ROWS)
    job.process.kill9()
    pair.source.sql("INSERT INTO b VALUES (1); DROP TABLE b; INSERT INTO a VALUES (1)")
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    assert pair.target.one("SELECT count(*) FROM a") == 1 and pair.target.one("SELECT count(*) FROM b") == 1
