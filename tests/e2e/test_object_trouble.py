"""Objects that stand in the way: rights, roles, row security, names, encodings, thousands of tables."""
import pytest

from harness.oracle import check_definitions, check_sequences
from harness.poll import poll_until

TABLES = "CREATE TABLE first (id int PRIMARY KEY); CREATE TABLE second (id int PRIMARY KEY, v text);" \
         " INSERT INTO first VALUES (1); INSERT INTO second VALUES (1, 'x')"


def account(pair, side, attributes=""):
    """A role of this test that owns the side's database and what is in it; returns its name and DSN."""
    name = f"{pair.name}_{'reader' if side is pair.source else 'loader'}"
    side.sql(f"CREATE ROLE {name} LOGIN {attributes}; ALTER DATABASE {side.name} OWNER TO {name};"
             f" GRANT SET ON PARAMETER session_replication_role TO {name}")
    if side.server.version is None or side.server.version < 15:
        side.sql(f"GRANT ALL ON SCHEMA public TO {name}")

    def drop():
        side.sql(f"ALTER DATABASE {side.name} OWNER TO postgres; REASSIGN OWNED BY {name} TO postgres;"
                 f" DROP OWNED BY {name} CASCADE; REVOKE ALL ON PARAMETER session_replication_role FROM {name};"
                 f" DROP ROLE {name}")
    pair.closing.append(drop)
    return name, side.dsn(user=name)


def reader_of_tables(pair, tables=TABLES):
    """A source account without superuser's rights, which owns the tables."""
    name, dsn = account(pair, pair.source, "REPLICATION")
    pair.source.sql(f"SET ROLE {name}; {tables}")
    return name, dsn


def item(job, name):
    return {found["name"]: found for found in job.call("check", "--json").json()["items"]}[name]


def ends_with(job, code, *words):
    """`run` ends soon, with a sentence that has the words; nothing is left on either side but the record."""
    done = job.run(timeout=30)
    assert done.exit == code, done.err
    for word in words:
        assert word in done.err, f"{word!r} is not in: {done.err}"


# ---- rights at the source ----

def test_a_right_missing_on_one_table_of_many(pair):
    name, dsn = reader_of_tables(pair)
    pair.source.sql(f"REVOKE SELECT ON second FROM {name}")
    job = pair.job(source_dsn=dsn)
    seen = item(job, "select-rights")
    assert seen["state"] == "failed" and "public.second" in seen["seen"] and "public.first" not in seen["seen"]
    assert f'GRANT SELECT ON "public"."second" TO "{name}"' in seen["fix"]
    ends_with(job, 2, "public.second")
    assert pair.source.server.slots(job.slot) == set()


def test_a_right_missing_on_a_partitioned_table_that_only_pg_dump_reads(pair):
    name, dsn = reader_of_tables(pair, "CREATE TABLE root (id int PRIMARY KEY) PARTITION BY LIST (id);"
                                       " CREATE TABLE leaf PARTITION OF root DEFAULT")
    pair.source.sql(f"REVOKE SELECT ON root FROM {name}")
    job = pair.job(source_dsn=dsn)
    seen = item(job, "select-rights")
    assert seen["state"] == "failed" and "public.root" in seen["seen"]
    ends_with(job, 2, "public.root")


def test_row_security_that_comes_after_the_check_is_an_error_and_never_fewer_rows(pair):
    name, dsn = reader_of_tables(pair)
    job = pair.job(source_dsn=dsn)
    process = job.start(fault="snapshot.after_export:sleep:1500@1")
    process.wait_reached("snapshot.after_export")
    pair.source.sql("ALTER TABLE second ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
                    " CREATE POLICY none ON second USING (false)")
    assert process.wait(30) == 2, process.err
    assert 'row-level security policy for table "second"' in process.err
    assert pair.target.one("SELECT to_regclass('second') IS NULL OR NOT EXISTS (SELECT FROM walferry.table_state"
                           " WHERE table_name = 'second' AND loaded)")
    again = job.run()
    assert again.exit == 2 and "row security would hide rows of 1 tables: public.second" in again.err
    pair.source.sql(f"ALTER ROLE {name} BYPASSRLS")
    job.start()
    job.wait_for("running")
    pair.wait_equal()


def test_large_objects_of_others_are_told_before(pair):
    name, dsn = reader_of_tables(pair)
    pair.source.sql("SELECT lo_create(1234567), lo_create(1234568)")
    pair.source.sql("GRANT SELECT ON LARGE OBJECT 1234568 TO PUBLIC")
    seen = item(pair.job(source_dsn=dsn), "large-objects")
    assert seen["state"] == "failed" and "1 of 2 large objects cannot be read" in seen["seen"]


# ---- rights at the target ----

def test_owners_without_a_superuser_at_the_target(pair):
    """Roles that it makes it joins, and owners that are there need a grant."""
    name, dsn = account(pair, pair.target, "CREATEROLE")
    made, there = f"{pair.name}_made", f"{pair.name}_there"
    for side in (pair.source, pair.target):
        pair.closing.insert(0, lambda side=side: side.sql(
            f"DROP OWNED BY {there} CASCADE; DROP ROLE {there}; DROP OWNED BY {made} CASCADE; DROP ROLE {made}"))
    pair.source.sql(f"CREATE ROLE {made}; CREATE ROLE {there}; {TABLES};"
                    f" CREATE SCHEMA one AUTHORIZATION {made}; CREATE SCHEMA two AUTHORIZATION {there};"
                    f" CREATE TABLE one.t (id int PRIMARY KEY); CREATE TABLE two.t (id int PRIMARY KEY);"
                    f" ALTER TABLE one.t OWNER TO {made}; ALTER TABLE two.t OWNER TO {there}; INSERT INTO one.t VALUES (1);"
                    f" DROP TABLE first, second")
    pair.target.sql(f"CREATE ROLE {there}")
    job = pair.job(target_dsn=dsn, load={"owners": "keep"}, schema={"roles": True})
    seen = item(job, "roles")
    assert seen["state"] == "failed" and f'GRANT "{there}" TO "{name}";' in seen["fix"]
    pair.target.sql(f"GRANT {there} TO {name}")
    job.start()
    job.wait_for("running")
    pair.source.sql("INSERT INTO one.t VALUES (2); INSERT INTO two.t VALUES (2); DELETE FROM one.t WHERE id = 1")
    pair.wait_equal()
    owners = "SELECT relname, relnamespace::regnamespace::text, relowner::regrole::text FROM pg_class" \
             " WHERE relnamespace::regnamespace::text IN ('one', 'two') ORDER BY 1, 2"
    assert pair.target.sql(owners) == pair.source.sql(owners)


def test_forced_row_security_at_the_target(pair):
    """Its policies would hold for the account that applies, too."""
    name, dsn = account(pair, pair.target)
    pair.source.sql(TABLES + "; ALTER TABLE second ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
                             " CREATE POLICY none ON second USING (false)")
    job = pair.job(target_dsn=dsn)
    seen = item(job, "target-row-security")
    assert seen["state"] == "failed" and "public.second" in seen["seen"] and "BYPASSRLS" in seen["fix"]
    pair.target.sql(f"ALTER ROLE {name} BYPASSRLS")
    job.start()
    job.wait_for("running")
    pair.source.sql("UPDATE second SET v = 'y'")
    pair.wait_equal()


def test_event_triggers_need_a_superuser(pair):
    _, dsn = account(pair, pair.target)
    pair.source.sql(TABLES + "; CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
                             " CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f()")
    assert item(pair.job(target_dsn=dsn), "event-triggers")["state"] == "alert"
    wanted = pair.job(folder="wanted", target_dsn=dsn, schema={"event_triggers": True})
    assert item(wanted, "event-triggers")["state"] == "failed"
    assert item(pair.job(folder="super", schema={"event_triggers": True}), "event-triggers")["state"] == "passed"


def test_triggers_of_a_prepared_target_that_act_on_applied_rows(pair):
    pair.source.sql(TABLES)
    pair.target.sql("CREATE TABLE first (id int PRIMARY KEY); CREATE TABLE second (id int PRIMARY KEY, v text);"
                    " CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
                    " CREATE TRIGGER t BEFORE INSERT ON second FOR EACH ROW EXECUTE FUNCTION f();"
                    " ALTER TABLE second ENABLE ALWAYS TRIGGER t")
    seen = item(pair.job(phases=["full", "incremental"]), "always-triggers")
    assert seen["state"] == "alert" and "t of public.second" in seen["seen"]
    assert 'ALTER TABLE "public"."second" ENABLE TRIGGER "t"' in seen["fix"]


def test_an_extension_that_the_target_lacks_is_told_with_its_package(version_pair):
    pair = version_pair(15, 18)
    pair.source.sql(TABLES + "; CREATE EXTENSION hstore")
    seen = item(pair.job(), "extensions")
    assert seen["state"] == "failed" and seen["seen"].endswith(": hstore") and "postgresql-18" in seen["fix"]


def test_an_extension_that_takes_a_superuser_at_the_target(pair):
    _, dsn = account(pair, pair.target)
    pair.source.sql(TABLES + "; CREATE EXTENSION hstore; CREATE EXTENSION pageinspect; CREATE EXTENSION pg_visibility")
    pair.target.sql("CREATE EXTENSION pg_visibility")  # is there, and hstore is trusted
    seen = item(pair.job(target_dsn=dsn), "extensions")
    assert seen["state"] == "alert" and seen["seen"].endswith(": pageinspect")
    assert 'CREATE EXTENSION "pageinspect";' in seen["fix"]


def test_rows_that_belong_to_an_extension_are_told(pair):
    pair.source.sql(TABLES + "; CREATE EXTENSION hstore; CREATE TABLE settings (id int PRIMARY KEY);"
                             " INSERT INTO settings VALUES (1); ALTER EXTENSION hstore ADD TABLE settings;"
                             " UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass], extcondition ="
                             " ARRAY['WHERE id > 1'] WHERE extname = 'hstore'")
    job = pair.job()
    assert item(job, "extension-rows")["state"] == "passed"
    pair.source.sql("INSERT INTO settings VALUES (2)")
    seen = item(job, "extension-rows")
    assert seen["state"] == "alert" and seen["seen"].endswith(": settings")


# ---- many tables ----

def test_more_tables_than_locks(make_pair):
    pair = make_pair(target={"max_locks_per_transaction": "10", "max_connections": "20", "max_worker_processes": "1"})
    pair.source.sql("DO $$ BEGIN FOR i IN 1..2500 LOOP EXECUTE format('CREATE TABLE t%s (id int, v text)', i);"
                    " EXECUTE format('ALTER TABLE t%s REPLICA IDENTITY FULL', i);"
                    " IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$")
    job = pair.job()
    seen = item(job, "lock-places")
    assert seen["state"] == "alert" and "target: 10000 locks are needed at once" in seen["seen"]
    assert "ALTER SYSTEM SET max_locks_per_transaction = " in seen["fix"]
    ends_with(job, 2, "max_locks_per_transaction")
    assert pair.target.one("SELECT to_regclass('t1')") is None, "all of them or none"


# ---- names ----

LONG = "ä" * 31 + "x"  # 63 bytes
NAMES = ["Simple", "with.dot", 'with"quote', "with'quote", "with space", "semi;colon", "back\\slash", "select", LONG,
         "a; Type: TABLE; Schema: b", "-- Name: x", "$1", "$$", "%s", "tab\tand\nline", "日本語", "{a,b}", "null"]


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def objects_named(schema, name):
    s, n = quoted(schema), quoted(name)
    return f"""
        CREATE TABLE {s}.{n} ({n} int PRIMARY KEY, other text DEFAULT {literal(name)}, self int);
        INSERT INTO {s}.{n} VALUES (1, {literal(name)}, 1);
        ALTER TABLE {s}.{n} ADD FOREIGN KEY (self) REFERENCES {s}.{n};
        CREATE INDEX ON {s}.{n} (other);
        COMMENT ON TABLE {s}.{n} IS {literal(name)}; COMMENT ON COLUMN {s}.{n}.{n} IS {literal(name)};
        CREATE TYPE {s}.{quoted(name[:20] + ' e')} AS ENUM ({literal(name[:30])});
        CREATE SEQUENCE {s}.{quoted(name[:20] + ' s')}; SELECT nextval({literal(s + '.' + quoted(name[:20] + ' s'))});
        CREATE MATERIALIZED VIEW {s}.{quoted(name[:20] + ' m')} AS SELECT {n} FROM {s}.{n};
        CREATE FUNCTION {s}.{n}() RETURNS trigger LANGUAGE plpgsql AS $body$BEGIN RETURN NEW; END$body$;
        CREATE TRIGGER {n} BEFORE UPDATE ON {s}.{n} FOR EACH ROW EXECUTE FUNCTION {s}.{n}();
        CREATE RULE {n} AS ON DELETE TO {s}.{n} WHERE false DO INSTEAD NOTHING;
        CREATE POLICY {n} ON {s}.{n} USING (true);
        """


def test_odd_names_everywhere(pair):
    """F65, F76: quoted, dotted, of 63 bytes, of all that looks like syntax."""
    pair.source.sql("CREATE SCHEMA {}; CREATE SCHEMA {}".format(quoted("a.b"), quoted(LONG)))
    schemas = ["public", "a.b", LONG]
    for schema in schemas:
        pair.source.sql("".join(objects_named(schema, name) for name in NAMES))
    pair.source.sql('CREATE SCHEMA a; CREATE TABLE a."b.c" (id int PRIMARY KEY); CREATE TABLE "a.b".c (id text PRIMARY KEY)')
    job = pair.running_job()
    pair.check_equal()
    check_sequences(pair.source, pair.target)
    check_definitions(pair.source, pair.target)
    for schema in schemas:
        pair.source.sql("".join(
            f"UPDATE {quoted(schema)}.{quoted(name)} SET other = 'changed', {quoted(name)} = 2, self = NULL;"
            f" INSERT INTO {quoted(schema)}.{quoted(name)} VALUES (3);" for name in NAMES))
    pair.source.sql("""INSERT INTO a."b.c" VALUES (1); INSERT INTO "a.b".c VALUES ('1')""")
    job.drain(pair.source)
    for side in (pair.source, pair.target):
        side.sql("DO $$ DECLARE v regclass; BEGIN FOR v IN SELECT oid FROM pg_class WHERE relkind = 'm' LOOP"
                 " EXECUTE 'REFRESH MATERIALIZED VIEW ' || v; END LOOP; END $$")
    pair.check_equal()


# ---- encodings ----

def encoded(pair, encoding):
    """The pair with a source of this encoding."""
    server = pair.source.server
    server.sql(f"CREATE DATABASE {pair.name}_{encoding} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
               " TEMPLATE template0")
    pair.closing.append(pair.source.drop)
    pair.source = server.database(f"{pair.name}_{encoding}".lower(), create=False)
    return pair


# ---- what belongs to the database itself ----

def test_settings_of_the_database_are_told_and_the_fix_carries_them(pair):
    source, target = pair.source, pair.target
    source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = pair.job()
    assert item(job, "database-settings")["state"] == "passed"
    role = f"{pair.name}_role"
    source.sql(f"CREATE ROLE {role}; ALTER DATABASE {source.name} SET search_path TO \"$user\", 'a, b', public;"
               f" ALTER DATABASE {source.name} SET work_mem TO '7MB';"
               f" ALTER ROLE {role} IN DATABASE {source.name} SET custom.motto TO 'it''s = ours'")
    pair.closing.append(lambda: source.sql(f"DROP ROLE {role}"))
    if target.server is not source.server:
        target.sql(f"CREATE ROLE {role}")
        pair.closing.append(lambda: target.sql(f"DROP ROLE {role}"))
    seen = item(job, "database-settings")
    assert seen["state"] == "alert" and "3 settings" in seen["seen"] and "search_path" in seen["seen"]
    for line in seen["fix"].splitlines():
        target.sql(line)
    assert item(job, "database-settings")["state"] == "passed"
    assert target.one("SELECT current_setting('search_path')") == source.one("SELECT current_setting('search_path')")


def test_another_locale_is_told(pair):
    encoded(pair, "UTF8")
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ours, theirs = (side.one("SELECT datcollate FROM pg_database WHERE datname = current_database()")
                    for side in (pair.source, pair.target))
    seen = item(pair.job(), "database-locale")
    assert seen["state"] == ("passed" if ours == theirs else "alert"), seen
    if ours == theirs:
        other = f"{pair.name}_posix"
        pair.target.server.sql(f"CREATE DATABASE {other} LC_COLLATE 'POSIX' LC_CTYPE 'POSIX' TEMPLATE template0")
        pair.closing.append(lambda: pair.target.server.sql(f"DROP DATABASE {other}"))
        other_target = pair.target.server.database(other, create=False)
        seen = item(pair.job(folder="other", target_dsn=other_target.dsn()), "database-locale")
        assert seen["state"] == "alert" and "POSIX" in seen["seen"] and "LC_COLLATE 'C'" in seen["fix"], seen


def test_latin1_is_converted(pair):
    """F76."""
    encoded(pair, "LATIN1")
    pair.source.sql("CREATE TABLE tëst (id int PRIMARY KEY, ä text); COMMENT ON TABLE tëst IS 'Größe';"
                    " INSERT INTO tëst VALUES (1, 'äöü'), (2, E'\\\\\\t\\xff')")
    job = pair.running_job()
    assert item(job, "database-encoding")["state"] == "alert"
    pair.source.sql("INSERT INTO tëst VALUES (3, E'\\xe9'); UPDATE tëst SET ä = 'Ñ' WHERE id = 1")
    job.drain(pair.source)
    check_definitions(pair.source, pair.target, ignoring=("client_encoding",))
    assert pair.target.sql("SELECT * FROM tëst ORDER BY 1") == [(1, "Ñ"), (2, "\\\tÿ"), (3, "é")]


def test_sql_ascii_that_is_utf8_goes_through(pair):
    """F76."""
    encoded(pair, "SQL_ASCII")
    pair.source.sql("CREATE TABLE tëst (id int PRIMARY KEY, ä text); INSERT INTO tëst VALUES (1, 'äöü 日')")
    job = pair.running_job()
    pair.source.sql("INSERT INTO tëst VALUES (3, '語')")
    job.drain(pair.source)
    assert pair.target.sql("SELECT * FROM tëst ORDER BY 1") == [(1, "äöü 日"), (3, "語")]


def test_bytes_that_are_no_text_end_the_load_with_the_row(pair):
    """F76."""
    encoded(pair, "SQL_ASCII")
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text);"
                    " INSERT INTO t SELECT i, CASE WHEN i = 4321 THEN E'\\xff' ELSE 'x' END FROM generate_series(1, 9000) i")
    job = pair.job()
    ends_with(job, 5, 'table "public.t"', "0xff", "row 4321")
    pair.source.sql("UPDATE t SET v = 'mended' WHERE id = 4321")
    job.start()
    job.wait_for("running")
    pair.wait_equal()


def test_bytes_that_are_no_text_end_the_stream_too(pair):
    """F76: the server cannot send the row, and the slot stands before it."""
    encoded(pair, "SQL_ASCII")
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    job = pair.running_job()
    pair.source.sql("INSERT INTO t VALUES (1, 'fine'); INSERT INTO t VALUES (2, E'\\xff')")
    assert job.process.wait(30) == 5, job.process.err
    assert "0xff" in job.process.err and "hint:" in job.process.err
    assert pair.target.sql("SELECT * FROM t") == []
