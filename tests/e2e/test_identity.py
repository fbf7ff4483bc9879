"""Replica identities: what an UPDATE or DELETE of the users carries, and that publishing never breaks their work."""
import pytest

GEARS = pytest.mark.parametrize("gear", ["live", "catch-up"])
BARE = """
CREATE TABLE bare (a int, b text);
INSERT INTO bare VALUES (1, 'one'), (2, 'two'), (2, 'two');
CREATE TABLE keyed (id int PRIMARY KEY, v text);
INSERT INTO keyed VALUES (1, 'x')"""
USERS_WORK = "UPDATE bare SET b = 'user' WHERE a = 1; DELETE FROM bare WHERE a = 99; UPDATE keyed SET v = 'user'"


def nothing_is_made_on(source):
    assert source.sql("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []
    assert source.sql("SELECT pubname FROM pg_publication") == []
    assert source.sql("SELECT relname FROM pg_class WHERE relname LIKE 'dts\\_%'") == []


@GEARS
@pytest.mark.asan
def test_default_index_and_full_identities_follow_every_change(pair, gear):
    pair.source.sql("""
        CREATE TABLE by_key (a int, b text, c int, PRIMARY KEY (c, a));
        CREATE TABLE by_index (a int NOT NULL, b text NOT NULL, c int, d int PRIMARY KEY);
        CREATE UNIQUE INDEX by_index_identity ON by_index (b, a);
        ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_identity;
        CREATE TABLE by_full (a int, b text, c numeric);
        ALTER TABLE by_full REPLICA IDENTITY FULL;
        INSERT INTO by_key SELECT i, 'x' || i, i % 3 FROM generate_series(1, 50) i;
        INSERT INTO by_index SELECT i, 'x' || i, NULL, i FROM generate_series(1, 50) i;
        INSERT INTO by_full SELECT i % 10, 'x', i % 10 FROM generate_series(1, 50) i;
        INSERT INTO by_full VALUES (NULL, NULL, NULL), (NULL, NULL, NULL), (77, NULL, 1.50)""")
    job = pair.running_job(target={"gear": gear})
    for statement in (
            "UPDATE by_key SET b = 'changed' WHERE c = 1; UPDATE by_key SET a = a + 1000 WHERE c = 2",
            "UPDATE by_index SET c = 5 WHERE a < 20; UPDATE by_index SET b = b || '!' WHERE a < 10",
            "UPDATE by_index SET d = d + 1000 WHERE a > 40; DELETE FROM by_index WHERE a = 30",
            "UPDATE by_full SET b = 'changed' WHERE a = 3; DELETE FROM by_full WHERE a = 4",
            "UPDATE by_full SET b = 'was null' WHERE ctid = (SELECT ctid FROM by_full WHERE a IS NULL LIMIT 1)",
            "DELETE FROM by_full WHERE ctid = (SELECT min(ctid) FROM by_full WHERE a = 5)",
            "BEGIN; DELETE FROM by_key WHERE a = 1; INSERT INTO by_key VALUES (1, 'again', 1);"
            " UPDATE by_key SET a = 2001 WHERE a = 1; COMMIT",
            "UPDATE by_key SET a = a + 1 WHERE c = 0"):
        pair.source.sql(statement)
    job.drain(pair.source)
    pair.check_equal()


@GEARS
def test_trap_B9_whole_row_match_is_by_image_and_knows_every_type(pair, gear):
    """json, xml and point have no "="; 1.0 and 1.00 are equal, yet another row."""
    pair.source.sql("""
        CREATE TABLE odd (n numeric, j json, x xml, p point, f float8, c "char");
        ALTER TABLE odd REPLICA IDENTITY FULL;
        INSERT INTO odd VALUES (1.0, '{"a":1}', '<a/>', '(1,2)', 0, 'x'), (1.00, '{"a":1}', '<a/>', '(1,2)', '-0', 'x'),
            (1, '{"a": 1}', '<a />', '(1,2)', 'NaN', NULL), (NULL, NULL, NULL, NULL, NULL, NULL)""")
    job = pair.running_job(target={"gear": gear})
    pair.source.sql("DELETE FROM odd WHERE n::text = '1.00'")
    pair.source.sql("UPDATE odd SET j = '[]' WHERE n::text = '1'")
    pair.source.sql("UPDATE odd SET n = 5 WHERE n IS NULL")
    job.drain(pair.source)
    pair.check_equal()


def test_table_without_identity_ends_the_run_and_nothing_is_made(pair):
    """F57."""
    pair.source.sql(BARE)
    job = pair.job()
    done = job.run()
    assert done.exit == 2
    assert "public.bare" in done.err
    nothing_is_made_on(pair.source)
    pair.source.sql(USERS_WORK)
    items = {item["name"]: item for item in job.call("check", "--json").json()["items"]}
    assert items["replica-identity"]["state"] == "failed"
    assert "public.bare" in items["replica-identity"]["seen"]
    assert "ALTER TABLE" in items["replica-identity"]["fix"]


NOT_IDENTITIES = {
    "deferrable": "CREATE TABLE bad (id int PRIMARY KEY DEFERRABLE INITIALLY IMMEDIATE, v text)",
    "nullable": "CREATE TABLE bad (id int UNIQUE, v text)",
    "partial": "CREATE TABLE bad (id int NOT NULL, v text); CREATE UNIQUE INDEX ON bad (id) WHERE id > 0",
    "expression": "CREATE TABLE bad (id int NOT NULL, v text); CREATE UNIQUE INDEX ON bad (abs(id))",
    "generated": "CREATE TABLE bad (n int, id int GENERATED ALWAYS AS (n * 2) STORED PRIMARY KEY, v text)",
    "nothing": "CREATE TABLE bad (id int PRIMARY KEY, v text); ALTER TABLE bad REPLICA IDENTITY NOTHING",
}


@pytest.mark.parametrize("kind", NOT_IDENTITIES)
def test_trap_A1_what_looks_like_an_identity_and_is_none(pair, kind):
    pair.source.sql(NOT_IDENTITIES[kind])
    column = "n" if kind == "generated" else "id"
    pair.source.sql(f"INSERT INTO bad ({column}, v) VALUES (1, 'x')")
    done = pair.job().run()
    assert done.exit == 2, done.err
    assert "public.bad" in done.err
    nothing_is_made_on(pair.source)
    pair.source.sql("UPDATE bad SET v = 'user'; DELETE FROM bad")


def test_trap_A1_users_go_on_writing_while_every_identity_is_published(pair):
    pair.source.sql(BARE)
    pair.source.sql("CREATE TABLE candidate (a int NOT NULL UNIQUE, b text); INSERT INTO candidate VALUES (1, 'x')")
    job = pair.running_job(identity="full")
    pair.source.sql(USERS_WORK + "; UPDATE candidate SET b = 'user', a = 2")
    job.drain(pair.source)
    pair.check_equal()


def identity_of(database, table):
    return database.one("SELECT relreplident FROM pg_class WHERE oid = %s::regclass", (table,))


def test_identity_full_is_set_and_taken_back_by_cleanup(pair):
    pair.source.sql(BARE)
    pair.source.sql("CREATE TABLE candidate (a int NOT NULL UNIQUE, b text)")
    job = pair.running_job(identity="full")
    assert identity_of(pair.source, "bare") == "f"
    assert identity_of(pair.source, "candidate") == "i", "a good unique index is used first"
    assert identity_of(pair.source, "keyed") == "d"
    assert job.process.terminate() == 0
    assert job.call("cleanup").exit == 0
    assert [identity_of(pair.source, table) for table in ("bare", "candidate", "keyed")] == ["d", "d", "d"]


def test_identity_full_does_not_queue_behind_a_long_lock(pair):
    """An ALTER TABLE that waits would block every reader behind it."""
    pair.source.sql(BARE)
    holder = pair.source.connect(autocommit=False)
    holder.cursor().execute("SELECT count(*) FROM bare")
    job = pair.job(identity="full")
    job.start()
    import time
    end = time.monotonic() + 5
    while time.monotonic() < end:
        begin = time.monotonic()
        pair.source.sql("SELECT count(*) FROM bare")
        assert time.monotonic() - begin < 3.5, "a reader waited behind our lock request"
        time.sleep(0.05)
    holder.rollback()
    holder.close()
    job.wait_for("running")
    assert identity_of(pair.source, "bare") == "f"


def test_insert_only_publishes_inserts_and_leaves_users_alone(pair):
    pair.source.sql(BARE)
    job = pair.running_job(identity="insert-only")
    assert identity_of(pair.source, "bare") == "d"
    published = dict(pair.source.sql(
        "SELECT tablename, p.pubname FROM pg_publication_tables t JOIN pg_publication p USING (pubname)"
        " WHERE tablename IN ('bare', 'keyed')"))
    assert published == {"bare": f"{job.slot}_i", "keyed": job.slot}
    pair.source.sql("INSERT INTO bare VALUES (3, 'three')")
    pair.source.sql(USERS_WORK)
    job.drain(pair.source)
    pair.check_equal(only={"public.keyed"})
    assert pair.target.one("SELECT count(*) FROM bare") == 4
    pair.source.sql("TRUNCATE bare; INSERT INTO bare VALUES (9, 'after')")
    job.drain(pair.source)
    pair.check_equal()
