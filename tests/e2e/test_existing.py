"""existing: what becomes of tables that the destination has already."""
import pytest

from test_object_trouble import account

ORDERS = ("CREATE TABLE customers (id int PRIMARY KEY, email text UNIQUE, note text);"
          " CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
          "  customer int NOT NULL REFERENCES customers, total numeric(10,2),"
          "  gross numeric GENERATED ALWAYS AS (total * 1.2) STORED);"
          " CREATE INDEX {index} ON orders (customer);")
SOURCE_ROWS = ("INSERT INTO customers SELECT i, 'c' || i, 'source' FROM generate_series(1, 100) i;"
               " INSERT INTO orders (customer, total) SELECT i, i FROM generate_series(1, 100) i")
TARGET_ROWS = ("INSERT INTO customers SELECT i, 'c' || i, 'target' FROM generate_series(91, 110) i;"
               " INSERT INTO orders (id, customer, total) OVERRIDING SYSTEM VALUE"
               "  SELECT i, 95, -1 FROM generate_series(91, 110) i")
WAYS = ["keep", "truncate", "drop"]


def fill(pair, rows=TARGET_ROWS):
    pair.source.sql(ORDERS.format(index="of_source") + SOURCE_ROWS)
    pair.target.sql(ORDERS.format(index="of_target") + rows)


def notes(database):
    return dict(database.sql("SELECT note, count(*) FROM customers GROUP BY 1"))


def item(checked):
    return next(each for each in checked.json()["items"] if each["name"] == "existing-tables")


def test_fail_names_the_tables_and_the_four_ways(pair):
    fill(pair)
    checked = pair.job().call("check", "--json")
    assert checked.exit == 1
    found = item(checked)
    assert found["state"] == "failed" and "public.customers" in found["seen"]
    for way in WAYS + ["fail"]:
        assert f"existing: {way}" in found["fix"]


@pytest.mark.asan
@pytest.mark.parametrize("schema", ["made", "given"])
def test_keep_leaves_the_rows_in_the_load_and_then_the_source_wins(pair, schema):
    fill(pair)
    phases = ["schema", "full", "incremental"] if schema == "made" else ["full", "incremental"]
    job = pair.running_job(existing="keep", phases=phases)
    assert notes(pair.target) == {"target": 20, "source": 90}, "rows that were there stay, the others come"
    assert pair.target.one("SELECT count(*) FROM orders WHERE total = -1") == 20
    assert pair.target.one("SELECT to_regclass('of_target') IS NOT NULL AND to_regclass('of_source') IS NULL")
    pair.source.sql(
        "UPDATE customers SET note = 'later' WHERE id IN (1, 95);"
        " INSERT INTO customers VALUES (105, 'c105', 'later');"
        " DELETE FROM orders WHERE id IN (92, 1); DELETE FROM customers WHERE id = 92;"
        " UPDATE customers SET id = 106, note = 'moved' WHERE id = 1;"  # its new key is taken at the target
        " INSERT INTO customers VALUES (200, 'c107', 'later');"  # another unique value is
        " UPDATE orders SET total = 7 WHERE id = 91; INSERT INTO orders (customer, total) VALUES (2, 9)")
    job.drain(pair.source)
    rows = "SELECT id, email, note FROM customers WHERE id IN (95, 105, 106, 107, 200, 92, 1) ORDER BY 1"
    assert pair.target.sql(rows) == [(95, "c95", "later"), (105, "c105", "later"), (106, "c1", "moved"),
                                     (200, "c107", "later")]
    assert pair.target.sql("SELECT total, gross FROM orders WHERE id IN (91, 101) ORDER BY id") == \
        pair.source.sql("SELECT total, gross FROM orders WHERE id IN (91, 101) ORDER BY id")
    assert job.process.terminate() == 0
    assert "10 of 100 rows of the source met rows of the target" in job.process.err
    pair.source.sql("UPDATE customers SET note = 'all'; UPDATE orders SET total = total + 1")
    job.start()
    job.drain(pair.source)
    for table in ("customers", "orders"):
        here = pair.source.sql(f"SELECT * FROM {table}")
        assert set(here) <= set(pair.target.sql(f"SELECT * FROM {table}")), "every row of the source, as it is there"


def test_keep_and_values_that_an_update_does_not_send(pair):
    """They come from the row that is there; where none is, the job stops at the row and says so."""
    large = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)"
    table = "CREATE TABLE t (id int PRIMARY KEY, code int UNIQUE, large text, note text); ALTER TABLE t ALTER large SET STORAGE EXTERNAL;"
    pair.source.sql(f"{table} INSERT INTO t SELECT i, i, {large}, 'source' FROM generate_series(1, 4) i")
    pair.target.sql(f"{table} INSERT INTO t VALUES (2, 2, 'own', 'target'), (50, 3, 'own', 'target')")
    job = pair.running_job(existing="keep")
    pair.source.sql("UPDATE t SET note = 'later' WHERE id = 1; UPDATE t SET note = 'later' WHERE id = 2;"
                    " UPDATE t SET id = 50 WHERE id = 4")
    job.drain(pair.source)
    assert pair.target.sql("SELECT id, code, length(large), note FROM t ORDER BY 1") == \
        [(1, 1, 9600, "later"), (2, 2, 3, "later"), (50, 4, 9600, "source")]
    pair.source.sql("INSERT INTO t VALUES (3, 3, 'again', 'x') ON CONFLICT (id) DO UPDATE SET large = 'again'")
    job.drain(pair.source)
    assert pair.target.one("SELECT large FROM t WHERE id = 3") == "again", "all of the row was sent"


def test_keep_is_exact_when_it_is_killed_again_and_again(pair):
    """F-faults: a kill in the middle of the temporary copy, then in the stream."""
    bank = pair.bank(ballast_tables=2, ballast_rows=4000)
    tables = [name for (name,) in pair.source.sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND"
                                                  " relnamespace = 'public'::regnamespace AND relname LIKE 'ballast%'")]
    assert tables
    for table in tables:
        kind = pair.source.sql(f"SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)"
                               f" FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0")[0][0]
        pair.target.sql(f"CREATE TABLE {table} ({kind}, PRIMARY KEY (id))")
    bank.start()
    job = pair.job(existing="keep", load={"workers": 1})
    for number in (1, 2, 3):
        job.start_killed_in_load(f"snapshot.mid_table:kill@{number}")
    job.start()
    job.wait_for("running")
    bank.pause_writers()
    bank.check_prefix(pair.source)
    pair.wait_equal()


def test_keep_needs_a_key_and_says_so(pair):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE)")
    pair.target.sql("CREATE TABLE t (id int NOT NULL, v text UNIQUE)")
    job = pair.job(existing="keep")
    found = item(job.call("check", "--json"))
    assert found["state"] == "failed" and "public.t" in found["seen"] and "unique key" in found["seen"]
    pair.target.sql("ALTER TABLE t ADD UNIQUE (id)")
    assert item(job.call("check", "--json"))["state"] == "alert"


def test_keep_and_columns_that_only_the_target_fills(pair):
    """What the load puts between must not ask for values that the destination makes itself."""
    table = ("CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED NOT NULL,"
             " n int GENERATED ALWAYS AS IDENTITY)")
    pair.source.sql(table + "; INSERT INTO t (id) VALUES (1), (2)")
    pair.target.sql(table + "; INSERT INTO t (id) VALUES (2), (3)")
    pair.running_job(existing="keep")
    assert pair.target.sql("SELECT id, g FROM t ORDER BY 1") == [(1, 2), (2, 4), (3, 6)]


UNIQUE = {
    "constraint": ("ALTER TABLE t ADD CONSTRAINT more UNIQUE (v)", False),
    "index": ("CREATE UNIQUE INDEX more ON t (v) INCLUDE (n)", False),
    "partial": ("CREATE UNIQUE INDEX more ON t (v) WHERE id < 100", False),
    "expression": ("CREATE UNIQUE INDEX more ON t (lower(v))", False),
    "nulls": ("CREATE UNIQUE INDEX more ON t (n) NULLS NOT DISTINCT", False),
    "exclusion": ("ALTER TABLE t ADD CONSTRAINT more EXCLUDE USING btree (v WITH =)", False),
    "deferrable": ("ALTER TABLE t ADD CONSTRAINT more UNIQUE (n) DEFERRABLE", False),
    "wider": ("CREATE UNIQUE INDEX more ON t (v, n)", True),
    "same": ("CREATE UNIQUE INDEX more ON t (n)", True),
    "same expression": ("CREATE UNIQUE INDEX more ON t (abs(n)) WHERE n > 0", True),
}


@pytest.mark.parametrize("kind", UNIQUE)
def test_keep_takes_no_unique_key_that_the_source_has_not(pair, kind):
    """Rows of the source would give way to each other, in the load and in the stream."""
    made, good = UNIQUE[kind]
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text, n int UNIQUE DEFERRABLE);"
                    " CREATE UNIQUE INDEX ON t (abs(n)) WHERE n > 0;"
                    " INSERT INTO t VALUES (1, 'x', 1), (2, 'x', 2), (3, 'y', NULL), (4, 'z', NULL)")
    pair.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t VALUES (2, 'own', 7);" + made)
    job = pair.job(existing="keep")
    found = item(job.call("check", "--json"))
    if good:
        assert found["state"] == "alert", found
        assert job.run("--until", "now").exit == 0
        assert pair.target.sql("SELECT id, v FROM t ORDER BY 1") == [(1, "x"), (2, "own"), (3, "y"), (4, "z")]
    else:
        assert found["state"] == "failed" and '"more" of table "public.t"' in found["seen"], found
        assert job.run().exit == 2 and pair.source.slot(job.slot) is None


def test_truncate_takes_the_rows_in_the_loads_own_transaction(pair):
    fill(pair)
    job = pair.job(existing="truncate", load={"workers": 1})
    process = job.start(fault="snapshot.mid_table:kill")
    assert process.wait(60) == -9
    assert notes(pair.target) == {"target": 20}, "nothing is gone before the load has put something in its place"
    job.start()
    job.wait_for("running")
    pair.wait_equal()
    assert pair.target.one("SELECT to_regclass('of_target') IS NOT NULL AND to_regclass('of_source') IS NULL")
    assert pair.target.one("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 1, "the definition stays"
    pair.source.sql("UPDATE customers SET note = 'later'")
    job.drain(pair.source)
    pair.check_equal()


def test_truncate_does_not_touch_what_strangers_refer_to(pair):
    fill(pair)
    pair.target.sql("CREATE TABLE stranger (customer int REFERENCES customers); INSERT INTO stranger VALUES (95)")
    result = pair.job(existing="truncate").run()
    assert result.exit == 2 and "stranger" in result.err and "customers" in result.err, result.err
    assert notes(pair.target) == {"target": 20}


def test_drop_makes_the_tables_again_and_never_more(pair):
    fill(pair)
    pair.target.sql("CREATE VIEW report AS SELECT count(*) FROM orders")
    job = pair.job(existing="drop")
    refused = job.run()
    assert refused.exit == 2 and "report" in refused.err and "orders" in refused.err, refused.err
    assert notes(pair.target) == {"target": 20}, "nothing is gone"
    pair.target.sql("DROP VIEW report")
    job.start()
    job.wait_for("running")
    pair.wait_equal()
    assert pair.target.one("SELECT to_regclass('of_target') IS NULL AND to_regclass('of_source') IS NOT NULL")


def test_drop_takes_a_partitioned_table_with_all_its_levels(pair):
    """A pattern names the root alone."""
    table = ("CREATE TABLE p (id int, r text, PRIMARY KEY (id, r)) PARTITION BY LIST (r);"
             " CREATE TABLE sub PARTITION OF p DEFAULT PARTITION BY RANGE (id);"
             " CREATE TABLE leaf PARTITION OF sub FOR VALUES FROM (0) TO (100);")
    pair.source.sql(table + "INSERT INTO p VALUES (1, 'a')")
    pair.target.sql(table + "INSERT INTO p VALUES (2, 'a')")
    assert pair.job(existing="drop", objects={"include": ["public.p"]}).run("--until", "now").exit == 0
    assert pair.target.sql("SELECT id FROM p") == [(1,)]


OBJECTS = ("CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('a', 'b'); CREATE DOMAIN s.word AS text CHECK (value <> '');"
           " CREATE FUNCTION s.f(a int, b s.mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';"
           " CREATE SEQUENCE s.numbers; CREATE TABLE s.t (id int PRIMARY KEY DEFAULT nextval('s.numbers'), m s.mood, w s.word);"
           " CREATE TABLE s.parts (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
           " CREATE TABLE s.part_1 PARTITION OF s.parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');"
           " CREATE VIEW s.v AS SELECT id FROM s.t; CREATE TABLE s.\"odd.\"\"Name|x\" (id int PRIMARY KEY);"
           " COMMENT ON TABLE s.t IS 'seen'; CREATE INDEX ON s.t (s.f(id, m));"
           " INSERT INTO s.t VALUES (1, 'a', 'x'); INSERT INTO s.parts VALUES (1, '2020-05-05')")


@pytest.mark.parametrize("way", WAYS)
def test_a_database_that_is_all_there_is_filled_again(pair, way):
    """Types, functions, views, sequences, partitions of the same names are left as they are."""
    pair.source.sql(OBJECTS + "; INSERT INTO s.t VALUES (2, 'b', 'y'); CREATE TABLE s.fresh (id int PRIMARY KEY, m s.mood);"
                    " INSERT INTO s.fresh VALUES (1, 'a'); CREATE INDEX of_fresh ON s.fresh (m)")
    pair.target.sql(OBJECTS)
    if way == "drop":
        pair.target.sql("DROP VIEW s.v")
    job = pair.running_job(existing=way)
    pair.source.sql("INSERT INTO s.t VALUES (3, 'a', 'z'); INSERT INTO s.fresh VALUES (2, 'b');"
                    " INSERT INTO s.parts VALUES (2, '2020-06-06'); UPDATE s.t SET w = 'w' WHERE id = 1")
    job.drain(pair.source)
    pair.check_equal()
    assert pair.target.one("SELECT to_regclass('s.of_fresh') IS NOT NULL AND to_regclass('s.v') IS NOT NULL")


@pytest.mark.parametrize("way", ["keep", "truncate"])
@pytest.mark.parametrize("there, words", [
    ("CREATE TABLE t (id bigint PRIMARY KEY, v text)", 'column "id" is bigint, at the source integer'),
    ("CREATE TABLE t (id int PRIMARY KEY, w text)", 'column "w" is not at the source'),
    ("CREATE TABLE t (id int PRIMARY KEY)", "1 columns, at the source 2"),
    ("CREATE VIEW t AS SELECT 1 AS id, 'x'::text AS v", "something else"),
])
def test_a_table_that_does_not_fit_is_refused_by_name(pair, way, there, words):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.target.sql(there)
    job = pair.job(existing=way)
    found = item(job.call("check", "--json"))
    assert found["state"] == "failed" and words in found["seen"] and "public.t" in found["seen"], found
    assert job.run().exit == 2 and pair.source.slot(job.slot) is None


def test_the_order_of_columns_does_not_matter(pair):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')")
    pair.target.sql("CREATE TABLE t (v text, id int PRIMARY KEY)")
    pair.running_job(existing="truncate")
    assert pair.target.sql("SELECT id, v FROM t") == [(1, "x")]


def test_a_job_keeps_to_what_it_began_with(pair):
    fill(pair)
    job = pair.running_job(existing="keep")
    assert job.process.terminate() == 0
    job.rewrite({"existing": "truncate"})
    refused = job.run()
    assert refused.exit == 2 and "was begun with \"existing: keep\"" in refused.err, refused.err
    assert notes(pair.target) == {"target": 20, "source": 90}


def test_drop_needs_the_phase_schema(pair):
    refused = pair.job(existing="drop", phases=["full", "incremental"]).call("check")
    assert refused.exit == 2 and "phase" in refused.err


@pytest.mark.parametrize("way", WAYS)
def test_tables_are_found_under_the_names_that_they_get(pair, way):
    pair.source.sql(OBJECTS + "; INSERT INTO s.t VALUES (2, 'b', 'y'); CREATE TABLE s.fresh (id int PRIMARY KEY, m s.mood)")
    pair.target.sql(OBJECTS.replace("CREATE VIEW s.v AS SELECT id FROM s.t;", "").replace("s.t ", "s.renamed ") if way == "drop"
                    else OBJECTS.replace("s.t ", "s.renamed ").replace("FROM s.t;", "FROM s.renamed;").replace("s.t IS", "s.renamed IS"))
    job = pair.running_job(existing=way, objects={"rename": {"tables": {"s.t": "s.renamed"}}})
    pair.source.sql("INSERT INTO s.t VALUES (3, 'a', 'z'); UPDATE s.t SET w = 'w' WHERE id = 1; INSERT INTO s.fresh VALUES (1, 'a')")
    job.drain(pair.source)
    assert pair.target.sql("SELECT * FROM s.renamed ORDER BY id") == pair.source.sql("SELECT * FROM s.t ORDER BY id")
    assert pair.target.one("SELECT count(*) FROM s.fresh") == 1


def test_what_a_table_has_beside_its_columns_may_differ(pair):
    """No identity at the target, a trigger that would act on every row, and rights that only check can see."""
    pair.source.sql("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);"
                    " INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 20)")
    pair.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE seen (id int);"
                    " CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
                    " 'BEGIN INSERT INTO seen VALUES (NEW.id); RETURN NEW; END';"
                    " CREATE TRIGGER see BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION see();"
                    " ALTER TABLE t ENABLE ALWAYS TRIGGER see")
    job = pair.running_job(existing="truncate")
    pair.source.sql("INSERT INTO t (v) VALUES ('later')")
    job.drain(pair.source)
    assert pair.target.sql("SELECT * FROM t ORDER BY id") == pair.source.sql("SELECT * FROM t ORDER BY id")
    assert pair.target.one("SELECT count(*) FROM seen") == 0, "what a trigger does is in the stream already"


def test_rights_on_tables_that_are_there_are_checked(pair):
    fill(pair)
    name, dsn = account(pair, pair.target)
    pair.target.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON customers, orders TO {name}")
    checked = pair.job(existing="truncate", target_dsn=dsn).call("check", "--json")
    rights = next(each for each in checked.json()["items"] if each["name"] == "target-rights")
    assert rights["state"] == "failed" and "public.orders" in rights["seen"] and "TRUNCATE" in rights["fix"], rights


def test_prepared_empty_tables_may_refer_to_each_other(pair):
    """Without the phase schema: TRUNCATE would refuse them."""
    fill(pair, rows="")
    pair.running_job(phases=["full", "incremental"])
    pair.wait_equal()
