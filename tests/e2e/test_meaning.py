"""The meaning of the stream (reliability.md, section 5 D), where a native subscription is the second opinion as often as
it can be one. What is tested elsewhere:

F43 test_stream: interleaved_transactions; test_two_phase: restarted_between_prepare_and_decision; assembler_exhaustive_test
F44 test_stream: copy_shares_lsns, large_transaction
F45 here: commits_back_to_back; assembler_ledger_exhaustive_test
F46 test_confirm: all; assembler_ledger_exhaustive_test
F47 test_stream: savepoints, random_work; here: subtransactions_of_every_depth
F48 test_stream_ddl: all; test_large: a_hundred_transactions
F49 test_stream_ddl: aborts_that_are_history; assembler_test
F50 test_stream: logical_messages, restart_between_prepare; test_two_phase, test_two_phase_edges
F51 test_large: one_transaction_of_a_million_rows
F52 test_stream: empty_and_foreign_transactions; here: filtered_transactions
F53 test_truncate: all; here: truncate_among_rows_of_a_stream
F54 here: origins_and_messages; pgoutput_test (unknown byte)
F55 test_values: unchanged_toast, toast_value_in_the_key; test_identity; here: identity_is_swapped
F56 pgoutput_golden_test
F57 test_identity: table_without_identity, what_looks_like_an_identity
F58 here: rows_of_one_transaction, identity_is_swapped, columns_retyped; test_stream_ddl; test_ddl
F59 here: partitions; test_mapping: partitions_and_inheritance; test_truncate: truncate_of_partitions; test_ddl
F60 test_ddl
F61 here: row_filters_and_column_lists; test_mapping: columns_and_rows_are_cut, every_form_of_a_filter
"""
import random

import pytest

from harness.native import Native
from harness.oracle import check_equal
from harness.poll import poll_until
from test_file_sink import file_job, of_users, wait_for_transactions

WAYS = ["whole", "early", "18-at-once"]
GEARS = ["live", "catch-up"]


@pytest.fixture
def pair_by(request, version_pair):
    """On shared servers, by how the source hands its transactions out."""
    def make(way):
        if way == "whole":
            return request.getfixturevalue("pair")
        pair = version_pair(*((15, 15) if way == "early" else (18, 18)))
        if way == "18-at-once":
            pair.source.sql(f'ALTER DATABASE "{pair.name}" SET debug_logical_replication_streaming = immediate')
        return pair
    return make


@pytest.fixture(params=[("whole", "live"), ("whole", "catch-up"), ("early", "live"), ("early", "catch-up"), ("18-at-once", "catch-up")],
                ids="-".join)
def pair_of(request, pair_by):
    pair = pair_by(request.param[0])
    pair.gear = {"target": {"gear": request.param[1]}}
    return pair


def native_of(pair, definitions, tables, **options):
    """Follows the source from now on; the tables of both are there, with the same rows."""
    database = pair.target.server.database(f"{pair.name}_native")
    database.sql(definitions)
    native = Native(pair.source, database, tables, **options)
    pair.closing.append(native.close)
    return native


def work(database, statements):
    """One after another in one session; what is not in BEGIN … COMMIT commits by itself."""
    connection = database.connect()
    for statement in statements:
        connection.cursor().execute(statement)
    connection.close()


def equal(pair, job, native, only=None):
    native.wait()
    job.drain(pair.source)
    pair.check_equal(only=only)
    check_equal(native.database, pair.target, only)


# ---- transactions ----

@pytest.mark.parametrize("version", [15, 17, 18])
def test_F45_commits_back_to_back_are_neither_left_out_nor_doubled(version_pair, version):
    """From 17 on the end of a commit may be the first LSN of the next transaction. Without a key a double row shows."""
    pair = version_pair(version, version)
    pair.source.sql("CREATE TABLE s (n int, v text); ALTER TABLE s REPLICA IDENTITY FULL")
    pair.running_job().process.kill9()
    job = pair.jobs[0]
    for first in range(0, 1200, 400):
        pair.source.sql(f"DO $$ BEGIN FOR i IN {first}..{first + 399} LOOP INSERT INTO s VALUES (i, 'x'); COMMIT; END LOOP; END $$")
        job.start(fault=f"apply.after_commit:kill@{1 + first // 400}")
        poll_until(lambda: not job.process.alive() or pair.target.one("SELECT count(*) FROM s") == first + 400, "killed or there")
        job.process.kill9()
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    assert pair.target.one("SELECT count(*) FROM s") == 1200
    pair.check_equal()


NESTED = """
CREATE FUNCTION nest(depth int, base int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO s VALUES (base + depth, 'kept at ' || depth);
    BEGIN
        INSERT INTO s VALUES (base + 1000 + depth, 'in the block');
        UPDATE s SET v = v || '!' WHERE id = base + depth;
        IF depth > 0 THEN PERFORM nest(depth - 1, base); END IF;
        IF depth % 3 = 1 THEN RAISE EXCEPTION 'away'; END IF;
    EXCEPTION WHEN raise_exception THEN
        INSERT INTO s VALUES (base + 2000 + depth, 'instead');
    END;
    UPDATE s SET v = v || '?' WHERE id >= base;
END $$;
CREATE PROCEDURE in_parts(base int) LANGUAGE plpgsql AS $$ BEGIN
    FOR i IN 1..5 LOOP
        PERFORM nest(4, base + i * 10000);
        IF i % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
END $$"""


def test_F47_subtransactions_of_every_depth(pair_of):
    """plpgsql blocks inside each other, released and rolled back; transactions inside of a procedure."""
    table = "CREATE TABLE s (id int PRIMARY KEY, v text)"
    pair_of.source.sql(table + ";" + NESTED)
    native = native_of(pair_of, table, "s")
    job = pair_of.running_job(**pair_of.gear)
    work(pair_of.source, ["BEGIN", "SELECT nest(60, 0)", "SAVEPOINT a", "SELECT nest(20, 10000)", "ROLLBACK TO a", "SELECT nest(30, 20000)",
                          "RELEASE a", "SAVEPOINT a", "SAVEPOINT a", "DELETE FROM s WHERE id < 30", "ROLLBACK TO a", "RELEASE a", "COMMIT",
                          "CALL in_parts(100000)", "BEGIN", "SELECT nest(40, 300000)", "ROLLBACK",
                          "BEGIN", "SAVEPOINT a", "SELECT nest(10, 400000)", "TRUNCATE s", "ROLLBACK TO a", "COMMIT"])
    equal(pair_of, job, native)
    assert pair_of.target.one("SELECT count(*) FROM s") > 10


def test_F52_filtered_transactions_cost_nothing_at_the_destination(pair):
    """Rows that a filter takes none of: the position moves, the destination hears of the beats alone."""
    tables = "CREATE TABLE s (id int PRIMARY KEY, v text)"
    pair.source.sql(tables)
    job = pair.running_job(objects={"tables": {"public.s": {"where": "id < 0"}}}, source={"heartbeat": "1s"})
    before = pair.target.one("SELECT pg_current_xact_id()::text::bigint")
    pair.source.sql("DO $$ BEGIN FOR i IN 1..20000 LOOP INSERT INTO s VALUES (i, 'x'); COMMIT; END LOOP; END $$")
    end = pair.source.lsn()
    poll_until(lambda: pair.source.slot(job.slot)[0] >= end, "the position follows")
    assert pair.target.one("SELECT pg_current_xact_id()::text::bigint") - before < 300
    assert pair.target.one("SELECT count(*) FROM s") == 0


def test_F53_truncate_among_rows_of_a_stream(pair_of):
    tables = "CREATE TABLE s (id int PRIMARY KEY, v text); CREATE TABLE u (id serial PRIMARY KEY, s int REFERENCES s)"
    pair_of.source.sql(tables)
    native = native_of(pair_of, tables, "s, u")
    job = pair_of.running_job(**pair_of.gear)
    rows = "INSERT INTO s SELECT i, md5(i::text) FROM generate_series({0}, {0} + 1499) i"
    work(pair_of.source, ["BEGIN", rows.format(1), "INSERT INTO u (s) SELECT id FROM s", "TRUNCATE s, u RESTART IDENTITY", rows.format(10000),
                          "SAVEPOINT a", "TRUNCATE s CASCADE", rows.format(20000), "ROLLBACK TO a", "INSERT INTO u (s) SELECT id FROM s",
                          "TRUNCATE u", "INSERT INTO u (s) VALUES (10001)", "COMMIT", "TRUNCATE u", rows.format(30000)])
    equal(pair_of, job, native)
    assert pair_of.target.one("SELECT count(*) FROM s") == 3000


def test_F54_origins_and_messages_between_rows(pair_of):
    """What came to the source from elsewhere is its data like any other; messages of others are no data."""
    tables = "CREATE TABLE s (id int PRIMARY KEY, v text)"
    pair_of.source.sql(tables)
    native = native_of(pair_of, tables, "s")
    job = pair_of.running_job(**pair_of.gear)
    rows = "INSERT INTO s SELECT i, md5(i::text) FROM generate_series({0}, {0} + 1499) i"
    origin = f"far from {pair_of.name}"  # the server's, not the database's
    work(pair_of.source, [
        f"SELECT pg_replication_origin_create('{origin}')", f"SELECT pg_replication_origin_session_setup('{origin}')",
        "BEGIN", "SELECT pg_replication_origin_xact_setup('0/1234', '2001-01-01')", "INSERT INTO s VALUES (-1, 'small')", "COMMIT",
        "BEGIN", "SELECT pg_logical_emit_message(true, 'app', 'inside')", rows.format(1), "SAVEPOINT a", rows.format(10000),
        "SELECT pg_logical_emit_message(false, 'app', repeat('x', 100000))", "SELECT pg_logical_emit_message(true, '', '')",
        "ROLLBACK TO a", "SELECT pg_replication_origin_xact_setup('0/1235', '2001-01-01')", rows.format(20000), "COMMIT",
        "SELECT pg_replication_origin_session_reset()", f"SELECT pg_replication_origin_drop('{origin}')",
        "SELECT pg_logical_emit_message(true, 'app', 'alone')", "SELECT pg_logical_emit_message(false, 'app', 'alone')",
        "BEGIN", "SELECT pg_logical_emit_message(false, 'app', 'kept')", rows.format(40000), "ROLLBACK", "INSERT INTO s VALUES (-2, 'behind')"])
    equal(pair_of, job, native)
    assert pair_of.target.one("SELECT count(*) FROM s") == 3002
    assert job.status()["totals"]["retries"] == 0


EQUAL_KEYS = {"numeric": ["1.0", "1.00", "1", "1.000"], "float8": ["0", "-0", "0.0"], "char(5)": ["a", "a ", "a  "], "citext": ["a", "A"],
              'text COLLATE "blind"': ["straße", "STRASSE", "Strasse"], "interval": ["1 mon", "30 days", "720:00:00"],
              "jsonb": ["1.0", "1.00"], "pair": ["(1.0,a)", "(1.00,a)"], "numeric[]": ["{1.0,2}", "{1,2.00}"], "numrange": ["[1.0,2)", "[1.00,2.0)"]}


@pytest.mark.parametrize("gear", GEARS)
def test_keys_that_are_equal_and_look_different(pair, gear):
    """One comes in another's place within a transaction and in the next; "=" finds the row, the new text is its value."""
    setup = ("CREATE EXTENSION citext; CREATE TYPE pair AS (n numeric, v text);"
             "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);")
    setup += "".join(f"CREATE TABLE k{n} (id {name} PRIMARY KEY, v int);" for n, name in enumerate(EQUAL_KEYS))
    pair.source.sql(setup)
    native = native_of(pair, setup, ", ".join(f"k{n}" for n in range(len(EQUAL_KEYS))))
    job = pair.running_job(target={"gear": gear})
    for number, values in enumerate(EQUAL_KEYS.values()):
        k, (first, second) = f"k{number}", values[:2]
        work(pair.source, [
            f"INSERT INTO {k} VALUES ('{first}', 1)", f"UPDATE {k} SET id = '{second}'", f"UPDATE {k} SET v = 2, id = '{first}'",
            "BEGIN", f"DELETE FROM {k}", f"INSERT INTO {k} VALUES ('{second}', 3)", f"UPDATE {k} SET v = v + 1",
            f"UPDATE {k} SET id = '{first}'", f"UPDATE {k} SET id = '{values[-1]}', v = 9", "COMMIT",
            "BEGIN", f"UPDATE {k} SET id = '{first}'", f"DELETE FROM {k}", f"INSERT INTO {k} VALUES ('{first}', 4)", f"DELETE FROM {k}",
            f"INSERT INTO {k} VALUES ('{second}', 5)", "COMMIT"])
        equal(pair, job, native)
    assert job.status()["totals"]["retries"] == 0, job.process.err


# ---- definitions ----

def seen(path):
    """(op, table, before, after) of every change in the file."""
    return [(line["op"], line["table"], line["before"], line["after"]) for _, changes in of_users(path) for line in changes]


DEFINITIONS = ["BEGIN", "INSERT INTO d VALUES (1, 'a')",
               "ALTER TABLE d ADD w int DEFAULT 7", "INSERT INTO d VALUES (2, 'b', 8)", "UPDATE d SET v = 'aa' WHERE id = 1",
               "ALTER TABLE d RENAME v TO x", "INSERT INTO d VALUES (3, 'c')",
               "ALTER TABLE d ALTER w TYPE text USING 'w' || w", "INSERT INTO d VALUES (4, 'd', 'text')", "UPDATE d SET x = 'y' WHERE id = 2",
               "SAVEPOINT s", "ALTER TABLE d DROP x", "INSERT INTO d VALUES (90, 'away')", "ROLLBACK TO s", "INSERT INTO d VALUES (5, 'e', 'f')",
               "ALTER TABLE d DROP x", "INSERT INTO d VALUES (6, 'g')",
               "ALTER TABLE d RENAME TO d2", "INSERT INTO d2 VALUES (7, 'h')", "ALTER TABLE d2 RENAME TO d",
               "ALTER TABLE d REPLICA IDENTITY FULL", "UPDATE d SET w = 'i' WHERE id = 7", "DELETE FROM d WHERE id = 6",
               "ALTER TABLE d REPLICA IDENTITY DEFAULT", "UPDATE d SET id = 8 WHERE id = 7", "DELETE FROM d WHERE id = 8", "COMMIT"]
AS_THEY_WERE = [
    ("c", "d", None, {"id": "1", "v": "a"}),
    ("c", "d", None, {"id": "2", "v": "b", "w": "8"}), ("u", "d", None, {"id": "1", "v": "aa", "w": "7"}),
    ("c", "d", None, {"id": "3", "x": "c", "w": "7"}),
    ("c", "d", None, {"id": "4", "x": "d", "w": "text"}), ("u", "d", None, {"id": "2", "x": "y", "w": "w8"}),
    ("c", "d", None, {"id": "5", "x": "e", "w": "f"}), ("c", "d", None, {"id": "6", "w": "g"}),
    ("c", "d2", None, {"id": "7", "w": "h"}),
    ("u", "d", {"id": "7", "w": "h"}, {"id": "7", "w": "i"}), ("d", "d", {"id": "6", "w": "g"}, None),
    ("u", "d", {"id": "7"}, {"id": "8", "w": "i"}), ("d", "d", {"id": "8"}, None)]


@pytest.mark.parametrize("way", WAYS)
def test_F58_rows_of_one_transaction_are_read_by_the_definition_before_them(pair_by, way):
    """By the file sink, which needs no table."""
    pair = pair_by(way)
    pair.source.sql("CREATE TABLE d (id int PRIMARY KEY, v text)")
    job, path = file_job(pair)
    work(pair.source, DEFINITIONS)
    wait_for_transactions(path, 1)
    assert seen(path) == AS_THEY_WERE
    assert job.process.alive()


def test_F58_the_identity_is_swapped_between_rows(pair_of):
    """Each row is found by the identity that was in force when it was written; the destination keeps its key. (A native
    subscription stops at it.)"""
    tables = ("CREATE TABLE d (id int PRIMARY KEY, a int NOT NULL, b text NOT NULL, v text, big text);"
              "CREATE UNIQUE INDEX d_a ON d (a); CREATE UNIQUE INDEX d_ba ON d (b, a); ALTER TABLE d ALTER big SET STORAGE EXTERNAL")
    pair_of.source.sql(tables)
    job = pair_of.running_job(**pair_of.gear)
    change = ("UPDATE d SET v = v || '{0}' WHERE id % 3 = 0", "UPDATE d SET a = a + 1000, b = b || 'x' WHERE id % 5 = 0",
              "UPDATE d SET id = id + 1000 WHERE id % 7 = 0 AND id < 1000", "DELETE FROM d WHERE id IN (11 + {0}, 1007 + {0})",
              "UPDATE d SET big = big || 'y' WHERE id % 4 = 0")
    statements = ["INSERT INTO d SELECT i, -i, 'b' || i, 'v', repeat(md5(i::text), 400) FROM generate_series(1, 60) i"]
    for number, identity in enumerate(["USING INDEX d_a", "FULL", "USING INDEX d_ba", "DEFAULT", "FULL", "USING INDEX d_a", "DEFAULT"]):
        alter = f"ALTER TABLE d REPLICA IDENTITY {identity}"
        changes = [each.format(number) for each in change]
        statements += ["BEGIN", *changes[:2], alter, *changes[2:], "COMMIT"] if number % 2 else [alter, *changes]
    statements += ["ALTER TABLE d REPLICA IDENTITY NOTHING", "INSERT INTO d VALUES (9999, 9999, '', '', '')"]
    work(pair_of.source, statements)
    job.drain(pair_of.source)
    pair_of.check_equal()
    assert pair_of.target.one("SELECT count(*) FROM d") > 40


# From, to at the source, and what the destination has been given beforehand: every text of both is a text of that.
RETYPED = {"int": ("int", "bigint", "bigint"), "numeric": ("int", "numeric", "numeric"), "text": ("varchar(10)", "text", "text"),
           "float": ("real", "float8", "float8"), "stamp": ("date", "timestamp", "timestamp"), "enum": ("text", "mood", "mood"),
           "array": ("int[]", "bigint[]", "bigint[]"), "narrow": ("numeric", "numeric(12,2)", "numeric(12,2)")}
TEXT_OF = {"stamp": "'2026-01-0{}'", "array": "'{{{},NULL}}'", "enum": "'m{}'"}


def test_F58_columns_are_retyped_where_the_destination_was_retyped_before(pair_of):
    """Rows of the old type and of the new one go into the destination's; keys of another type find their rows."""
    moods = ", ".join(f"'m{n}'" for n in range(10))
    enum = f"CREATE TYPE mood AS ENUM ({moods});"
    for name, (old, _, _) in RETYPED.items():
        enum += f"CREATE TABLE r_{name} (id {old if name in ('int', 'numeric', 'text') else 'int'} PRIMARY KEY, v {old}, w {old});"
    pair_of.source.sql(enum)
    native = native_of(pair_of, enum, ", ".join(f"r_{name}" for name in RETYPED))
    job = pair_of.running_job(**pair_of.gear)
    values = {name: TEXT_OF.get(name, "'{}'") for name in RETYPED}
    for name, value in values.items():
        work(pair_of.source, [f"INSERT INTO r_{name} VALUES ({n}, {value.format(n)}, NULL)" for n in range(1, 6)])
    equal(pair_of, job, native)
    for side in (pair_of.target, native.database):
        for name, (old, _, there) in RETYPED.items():
            keyed = f"ALTER id TYPE {there}, " if name in ("int", "numeric", "text") else ""
            using = f" USING v::{there}" if name == "enum" else ""
            side.sql(f"ALTER TABLE r_{name} {keyed}ALTER v TYPE {there}{using}")
    for name, (_, new, _) in RETYPED.items():
        value = values[name]
        cast = f" USING v::{new}" if name == "enum" else ""
        work(pair_of.source, [
            f"INSERT INTO r_{name} VALUES (6, {value.format(6)})", f"UPDATE r_{name} SET v = {value.format(7)}, id = '8' WHERE id = '1'",
            f"BEGIN; DELETE FROM r_{name} WHERE id = '2'; ALTER TABLE r_{name} ALTER v TYPE {new}{cast};"
            f" INSERT INTO r_{name} VALUES ('9', {value.format(9)}); UPDATE r_{name} SET v = {value.format(4)} WHERE id = '3'; COMMIT",
            f"DELETE FROM r_{name} WHERE id = '4'"])
    job.drain(pair_of.source)
    native.wait()
    texts = " UNION ALL ".join(f"SELECT '{name}', id::text, v::text FROM r_{name}" for name in RETYPED if name not in ("stamp", "narrow"))
    for side in (pair_of.target, native.database):
        assert sorted(side.sql(texts)) == sorted(pair_of.source.sql(texts)), side.name
    check_equal(native.database, pair_of.target, {f"public.r_{name}" for name in RETYPED})


# ---- partitions ----

PARTED = """
CREATE TABLE p (id int, region text NOT NULL, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu'); CREATE TABLE p_rest PARTITION OF p DEFAULT PARTITION BY RANGE (id);
CREATE TABLE p_rest1 PARTITION OF p_rest FOR VALUES FROM (MINVALUE) TO (100); CREATE TABLE p_rest2 PARTITION OF p_rest DEFAULT;
CREATE TABLE p_asia (v text, region text NOT NULL, gone int, id int, PRIMARY KEY (id, region)); ALTER TABLE p_asia DROP gone;
ALTER TABLE p ATTACH PARTITION p_asia FOR VALUES IN ('asia')"""
REGIONS = ["eu", "asia", "us", "af"]


def parted_work(seed):
    """Statements that move rows between partitions."""
    choose = random.Random(seed)
    yield "INSERT INTO p SELECT i, (ARRAY['eu', 'asia', 'us', 'af'])[1 + i % 4], 'v' FROM generate_series(1, 200) i"
    for number in range(60):
        region, other, key = choose.choice(REGIONS), choose.choice(REGIONS), choose.randint(1, 200)
        yield choose.choice([
            f"UPDATE p SET region = '{region}' WHERE id BETWEEN {key} AND {key + 9}", f"UPDATE p SET v = v || {number} WHERE region = '{region}'",
            f"UPDATE p SET id = id + 300 * {number + 1}, region = '{region}' WHERE id = {key}",
            f"DELETE FROM p WHERE id % 50 = {key % 50}",
            f"INSERT INTO p VALUES ({100000 + 1000 * number + key}, '{region}', 'new')",
            f"BEGIN; UPDATE p SET region = '{region}' WHERE id < {key}; SAVEPOINT a; UPDATE p SET region = '{other}' WHERE id < {key};"
            f" {'ROLLBACK TO a' if key % 2 else 'RELEASE a'}; COMMIT",
            f"BEGIN; TRUNCATE p_{choose.choice(['eu', 'asia', 'rest1'])}; INSERT INTO p VALUES ({200000 + 1000 * number + key}, '{region}', 't'); COMMIT"])
    yield "INSERT INTO p SELECT 500000 + i, (ARRAY['eu', 'asia', 'us', 'af'])[1 + i % 4], 'last' FROM generate_series(1, 40) i"


@pytest.mark.parametrize("gear", GEARS)
@pytest.mark.parametrize("root", ["leaves", "root"])
def test_F59_rows_move_between_partitions(pair, root, gear):
    """As the leaves say, and as a subscription to the root says, whose leaves may lie otherwise. (A TRUNCATE of a leaf is
    not sent through the root: that is why we read leaves, trap A18.)"""
    pair.source.sql(PARTED)
    options = f"publish_via_partition_root = {'true' if root == 'root' else 'false'}"
    native = native_of(pair, PARTED, "p", publish=options)
    job = pair.running_job(target={"gear": gear})
    statements = [each for each in parted_work(pair.number) if root == "leaves" or "TRUNCATE" not in each]
    work(pair.source, statements[:30])
    job.process.kill9()
    job.start()
    work(pair.source, statements[30:])
    job.wait_for("running")
    leaves = {"public.p_eu", "public.p_asia", "public.p_rest1", "public.p_rest2"}
    equal(pair, job, native, leaves)
    assert pair.target.one("SELECT count(*) FROM p") > 20


@pytest.mark.parametrize("gear", GEARS)
def test_F59_the_destination_is_parted_otherwise(pair, gear):
    """A plain table goes into a partitioned one, whose rows the destination moves itself; and one without a key."""
    pair.source.sql("CREATE TABLE p (id int, region text NOT NULL, v text, PRIMARY KEY (id, region));"
                    " CREATE TABLE w (n int, region text, v json); ALTER TABLE w REPLICA IDENTITY FULL;"
                    " INSERT INTO w SELECT i % 5, 'eu', '{}' FROM generate_series(1, 20) i")
    pair.target.sql(PARTED + "; CREATE TABLE w (n int, region text, v json) PARTITION BY LIST (region);"
                    " CREATE TABLE w_eu PARTITION OF w FOR VALUES IN ('eu'); CREATE TABLE w_rest PARTITION OF w DEFAULT")
    job = pair.running_job(phases=["full", "incremental"], target={"gear": gear})
    work(pair.source, [each for each in parted_work(pair.number) if "TRUNCATE" not in each])
    work(pair.source, ["UPDATE w SET region = 'us' WHERE n = 1", "UPDATE w SET region = 'eu', v = '[]' WHERE n = 1", "DELETE FROM w WHERE n = 2",
                       "UPDATE w SET region = NULL WHERE n = 3", "DELETE FROM w WHERE ctid = (SELECT max(ctid) FROM w WHERE n = 4)"])
    job.drain(pair.source)
    for query in ("SELECT id, region, v FROM p ORDER BY 1, 2", "SELECT n, region, v::text FROM w ORDER BY 1, 2, 3"):
        assert pair.target.sql(query) == pair.source.sql(query)
    work(pair.source, ["BEGIN", "TRUNCATE p", "INSERT INTO p VALUES (1, 'eu', 'after')", "COMMIT", "TRUNCATE w"])
    job.drain(pair.source)
    assert pair.target.sql("SELECT id FROM p") == [(1,)] and pair.target.one("SELECT count(*) FROM w") == 0


ATTACH, DETACH = "ALTER TABLE p ATTACH PARTITION p_eu FOR VALUES IN ('eu', 'free')", "ALTER TABLE p DETACH PARTITION p_eu"


@pytest.mark.parametrize("first", ["target", "source"])
@pytest.mark.parametrize("version", [13, 15, 18])
def test_F59_a_captured_partition_is_detached_and_attached(version_pair, version, first):
    """It goes on under its own name, whichever side is changed first: what the other does not take yet ends the run."""
    pair = version_pair(version, version)
    pair.source.sql(PARTED)
    pair.source.sql("INSERT INTO p SELECT i, (ARRAY['eu', 'asia', 'us', 'af'])[1 + i % 4], 'v' FROM generate_series(1, 200) i")
    job = pair.running_job()
    if first == "target":
        pair.target.sql(DETACH)
    work(pair.source, ["UPDATE p SET v = 'together'", DETACH, "UPDATE p_eu SET v = 'alone'", "INSERT INTO p_eu VALUES (500, 'free', 'x')",
                       "INSERT INTO p VALUES (1000, 'us', 'x')"])
    if first == "source":
        assert job.process.wait(30) == 5 and "public.p_eu" in job.process.err
        pair.target.sql(DETACH)
        job.start()
        job.wait_for("running")
    job.drain(pair.source)
    pair.check_equal()
    if first == "target":
        pair.target.sql(ATTACH)
    work(pair.source, ["UPDATE p_eu SET v = 'still'", ATTACH, "UPDATE p SET region = 'eu' WHERE id < 50",
                       "UPDATE p SET region = 'us' WHERE id > 150"])
    job.drain(pair.source)
    if first == "source":
        pair.target.sql(ATTACH)
    pair.check_equal()
    assert job.process.alive() and job.status()["totals"]["retries"] == 0, job.process.err


def test_F59_a_publication_through_the_root_is_refused_with_a_sentence(pair):
    """Trap A18: TRUNCATE of a leaf, ATTACH and DETACH would be lost in silence."""
    pair.source.sql(PARTED + "; CREATE PUBLICATION theirs FOR TABLE p WITH (publish_via_partition_root = true)")
    done = pair.job(source={"publication": "theirs", "heartbeat": 0}).run()
    assert done.exit == 2 and '"theirs"' in done.err and "as their root" in done.err and "publish_via_partition_root = false" in done.err, done.err
    assert pair.source.server.slots(pair.jobs[0].slot) == set()
    pair.source.sql("ALTER PUBLICATION theirs SET (publish_via_partition_root = false)")
    job = pair.running_job(source={"publication": "theirs", "heartbeat": 0})
    work(pair.source, [*parted_work(1)])
    pair.wait_equal()
    assert job.process.alive()


# ---- row filters and column lists ----

CUT = "CREATE TABLE c (id int, region text, n int, v text, secret text, PRIMARY KEY (id, region))"
FULL_CUT = "CREATE TABLE f (id int, n int, big text); ALTER TABLE f REPLICA IDENTITY FULL; ALTER TABLE f ALTER big SET STORAGE EXTERNAL"
KEYED = "CREATE TABLE k (id int PRIMARY KEY, at timestamptz, v text)"
FILTERS = {"c": "(region = 'eu' OR id > 150) AND id < 1000", "f": "n IS NULL OR n % 3 = 0", "k": "id % 2 = 0"}


def cut_work(seed):
    choose = random.Random(seed)
    yield "INSERT INTO c SELECT i, (ARRAY['eu', 'us'])[1 + i % 2], i, 'v', 'secret' FROM generate_series(1, 200) i"
    yield "INSERT INTO f SELECT i, nullif(i % 10, 7), repeat(md5(i::text), 300) FROM generate_series(1, 60) i"
    yield "INSERT INTO k SELECT i, now(), 'v' FROM generate_series(1, 100) i"
    for number in range(80):
        key, other = choose.randint(1, 200), choose.randint(1, 1200)
        yield choose.choice([
            f"UPDATE c SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END WHERE id BETWEEN {key} AND {key + 20}",
            f"UPDATE c SET id = id + 2000 WHERE id = {key}", f"UPDATE c SET id = id - 2000 WHERE id = {key + 2000}",
            f"UPDATE c SET v = v || {number}, secret = 's{number}' WHERE id % 20 = {key % 20}", f"UPDATE c SET secret = '{number}'",
            f"DELETE FROM c WHERE id BETWEEN {key} AND {key + 3}",
            f"INSERT INTO c VALUES ({10000 + number}, 'eu', 1, 'x', 'y'), ({-number}, 'eu', NULL, 'x', 'y'), ({-number}, 'us', NULL, 'x', 'y')",
            f"UPDATE f SET n = n + 1 WHERE id % 7 = {key % 7}", f"UPDATE f SET n = NULL WHERE id = {key}", f"UPDATE f SET n = {key} WHERE id % 20 = {key % 20}",
            f"DELETE FROM f WHERE id = {key}", f"UPDATE f SET big = big || 'x' WHERE id % 11 = {key % 11}",
            f"UPDATE k SET id = {other + 1000 + 2000 * number} WHERE id = {key}", f"UPDATE k SET v = v || {number} WHERE id % 3 = {key % 3}",
            f"DELETE FROM k WHERE id = {key}", "BEGIN; TRUNCATE k; INSERT INTO k SELECT i, now(), 't' FROM generate_series(1, 100) i; COMMIT"])


@pytest.mark.parametrize("version, gear", [(15, "live"), (15, "catch-up"), (16, "catch-up"), (18, "live")])
def test_F61_row_filters_and_column_lists_give_what_a_native_subscription_gives(version_pair, version, gear):
    """Rows that enter and leave, keys that change within and across, under each identity."""
    pair = version_pair(version, version)
    pair.source.sql(";".join([CUT, FULL_CUT, KEYED]))
    native = native_of(pair, ";".join([CUT, FULL_CUT, KEYED]),
                       f"c (id, region, n, v) WHERE ({FILTERS['c']}), f WHERE ({FILTERS['f']}), k (id, v) WHERE ({FILTERS['k']})")
    pair.target.sql(";".join([CUT, FULL_CUT, KEYED]))
    job = pair.running_job(phases=["full", "incremental"], target={"gear": gear}, objects={"exclude": ["public.native_mark"], "tables": {
        "public.c": {"where": FILTERS["c"], "columns": ["id", "region", "n", "v"]}, "public.f": {"where": FILTERS["f"]},
        "public.k": {"where": FILTERS["k"], "columns": ["id", "v"]}}})
    statements = [*cut_work(pair.number)]
    print(f"seed {pair.number}")
    work(pair.source, statements[:40])
    job.process.kill9()
    job.start()
    work(pair.source, statements[40:])
    job.wait_for("running")
    native.wait()
    job.drain(pair.source)
    check_equal(native.database, pair.target, {"public.c", "public.f", "public.k"})
    assert pair.target.one("SELECT count(*) FROM c") > 10 and pair.target.one("SELECT count(secret) FROM c") == 0
    inside = "SELECT id, region, n, v FROM c WHERE {c} ORDER BY 1, 2", "SELECT * FROM f WHERE {f} ORDER BY 1", "SELECT id, v FROM k WHERE {k} ORDER BY 1"
    for query in inside:
        assert pair.target.sql(query.format(**FILTERS)) == pair.source.sql(query.format(**FILTERS))
