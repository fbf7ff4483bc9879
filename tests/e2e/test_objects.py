"""Objects of every kind: the definitions of both sides compared, and the objects used after the migration."""
import re
from pathlib import Path

import psycopg2
import pytest

from harness.oracle import check_sequences, definition_differences, fingerprints

KINDS = (Path(__file__).parent / "kinds.sql").read_text()
PAIRS = [(15, 15), (15, 18), (16, 18), (18, 18)]
# Why the definitions of both sides may differ: event triggers come on request, and what fires for applied rows, too, is
# kept still until the users move. (pg_dump says so of a partition's trigger where it differs from its parent's.)
ONLY_SOURCE = """
CREATE EVENT TRIGGER on_ddl ON ddl_command_end
         WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS')
   EXECUTE FUNCTION kinds.on_ddl();
COMMENT ON EVENT TRIGGER on_ddl IS 'an event trigger';
ALTER TABLE kinds.ruled ENABLE ALWAYS RULE always;
ALTER TABLE kinds.ruled ENABLE REPLICA RULE replica;
ALTER TABLE kinds.triggered ENABLE ALWAYS TRIGGER always;
ALTER TABLE kinds.triggered ENABLE REPLICA TRIGGER replica;""".split("\n")[1:]
ONLY_TARGET = """
ALTER TABLE kinds.ruled DISABLE RULE replica;
ALTER TABLE kinds.triggered DISABLE TRIGGER replica;
ALTER TABLE kinds.visit_new_1_0 ENABLE TRIGGER always_of_partitions;
ALTER TABLE kinds.visit_new_1_1 ENABLE TRIGGER always_of_partitions;
ALTER TABLE kinds.visit_new_rest ENABLE TRIGGER always_of_partitions;""".split("\n")[1:]
UNSTREAMED = {"kinds.fleeting", "kinds.z_by_mood", "kinds.a_sum", "kinds.keyed_kept", "kinds.a_of_keyed_kept",
              "kinds.never", "kinds.never_either"}

CHANGES = """
UPDATE kinds.thing SET mood = 'calm', pair = ROW(7, NULL), nest = NULL, tags = '{}', span = 'empty', touched = 4,
    word = 'other', day = NULL, name = name || '!' WHERE id % 30 = 10;
UPDATE kinds.thing SET code = code + 10000 WHERE id % 70 = 0;
DELETE FROM kinds.thing WHERE id % 90 = 0;
INSERT INTO kinds.thing (part, even) VALUES (1, 2);
INSERT INTO kinds.typed VALUES (2, 'two'); UPDATE kinds.typed SET a = a + 10;
UPDATE kinds.wayside SET id = id + 10; DELETE FROM kinds.wayside WHERE id = 11;
INSERT INTO kinds.fleeting VALUES (99);
UPDATE kinds.parent SET v = v || '!', id = id + 10; DELETE FROM ONLY kinds.child; INSERT INTO kinds.child VALUES (20);
INSERT INTO kinds.second_parent VALUES (1); UPDATE kinds.second_parent SET w = w + 10;
INSERT INTO kinds.by_index VALUES (3, 4); UPDATE kinds.by_index SET b = b + 10 WHERE b = 2;
DELETE FROM kinds.whole WHERE b = 'x'; UPDATE kinds.whole SET b = 'z' WHERE a IS NULL;
UPDATE kinds.unset SET v = 3 WHERE id = 1; INSERT INTO kinds.unset VALUES (3, NULL);
UPDATE kinds.visit SET day = '2026-06-01', id = 1 WHERE day = '2025-07-03';
UPDATE kinds.visit SET day = day + 2000 WHERE id = 5 AND day BETWEEN '2025-07-01' AND '2025-09-01';
UPDATE kinds.visit SET who = NULL WHERE id = 4;
DELETE FROM kinds.visit WHERE id = 6 AND day > '2025-07-01';
INSERT INTO kinds.visit (day, id) VALUES ('2026-05-06', 1), ('2026-05-06', 2), ('2026-05-06', 77), ('2040-01-01', 1);
TRUNCATE kinds.by_expression_1; INSERT INTO kinds.by_expression VALUES (7, 'new');
UPDATE kinds.by_expression SET id = 2;
UPDATE kinds.note SET above = NULL, thing = NULL WHERE id = 3; DELETE FROM kinds.note WHERE id > 90;
TRUNCATE kinds.triggered; INSERT INTO kinds.triggered VALUES (1, 'one'), (4, 'four'); UPDATE kinds.triggered SET v = 'quiet' WHERE id = 1;
UPDATE kinds.triggered SET v = 'loud';
INSERT INTO kinds.ruled VALUES (3, 'three'); UPDATE kinds.ruled SET v = 'changed' WHERE id = 1;
DELETE FROM kinds.ruled WHERE id = 2;
UPDATE kinds.secret SET owner = 'nobody' WHERE id = 1; INSERT INTO kinds.secret VALUES (3, 'third');
"""
CHANGES_CONTRIB = """
UPDATE kinds.extended SET label = 'LABEL 3', attributes = 'b=>c' WHERE id = 1;
INSERT INTO kinds.extended VALUES (3, 'x', '');
"""
CHANGES_18 = """
UPDATE kinds.virtual SET id = id + 10, w = 1; INSERT INTO kinds.virtual (id, v, w) VALUES (50, 'new', 5);
UPDATE kinds.period SET v = 'y'; INSERT INTO kinds.period VALUES ('[1,2)', '[2026-03-01,2026-04-01)', 'z');
UPDATE kinds.period SET during = '[2026-03-02,2026-04-02)' WHERE v = 'z';
INSERT INTO kinds.within VALUES (1, '[1,2)', '[2026-01-02,2026-01-03)');
INSERT INTO kinds.counted (k) VALUES (1); DELETE FROM kinds.counted WHERE id = 1;
"""
# Each must give the same on both sides, be it an error.
USES = """
INSERT INTO kinds.thing (part, even) VALUES (1, 2) RETURNING mood, tags, twofold, made
INSERT INTO kinds.thing (part, even) VALUES (101, 2)
INSERT INTO kinds.thing (part, even) VALUES (1, 10)
INSERT INTO kinds.thing (id, part, even) VALUES (1, 1, 2)
INSERT INTO kinds.thing (code, part, even) SELECT code, 1, 2 FROM kinds.thing; SET CONSTRAINTS ALL IMMEDIATE
UPDATE kinds.thing SET touched = 2000 WHERE day IS NOT NULL
UPDATE kinds.thing SET touched = -1 WHERE id = 20
UPDATE kinds.triggered SET v = 'here' RETURNING id, v, touched
INSERT INTO kinds.triggered VALUES (9, 'nine'); SET CONSTRAINTS ALL IMMEDIATE; SELECT by_whom FROM kinds.log ORDER BY 1
UPDATE kinds.visit SET who = 'x' WHERE id IN (1, 2, 3) RETURNING day, id, touched
UPDATE kinds.ruled SET v = 'x'; SELECT count(*) FROM kinds.log WHERE by_whom = 'always'
DELETE FROM kinds.ruled WHERE id = 3 RETURNING id
DELETE FROM kinds.happy WHERE id > 5; SELECT v FROM kinds.ruled ORDER BY 1
INSERT INTO kinds.happy (name, mood) VALUES ('x', 'sad')
UPDATE kinds.keyed SET name = 'x' WHERE id = 20; SELECT count(*) FROM kinds.log WHERE by_whom = 'instead'
INSERT INTO kinds.note (id) VALUES (50)
INSERT INTO kinds.note (id, thing) VALUES (11, 123456789)
INSERT INTO kinds.note (id, above) VALUES (11, 12345); SET CONSTRAINTS ALL IMMEDIATE
INSERT INTO kinds.note (id, day, visit) VALUES (11, '2020-01-01', 1)
DELETE FROM kinds.thing WHERE code < 50; SELECT count(*) FROM kinds.note
INSERT INTO kinds.visit (day, id) VALUES ('2026-05-06', 3) RETURNING tableoid::regclass::text, who
INSERT INTO kinds.unset VALUES (10, 3), (11, 3)
INSERT INTO kinds.child VALUES (-1)
INSERT INTO kinds.orphan VALUES (2, 99)
SELECT count(*), sum(n) FROM kinds.happy, kinds.y_between
SELECT * FROM kinds.counting
SELECT * FROM kinds.never
SELECT count(*) FROM kinds.of_keyed_first
SELECT kinds.total(i) OVER (ORDER BY i ROWS 1 PRECEDING) FROM generate_series(1, 5) i
SELECT kinds.middle(0.5) WITHIN GROUP (ORDER BY i), kinds.place(3) WITHIN GROUP (ORDER BY i) FROM generate_series(1, 5) i
SELECT 'sad'::kinds.mood OPERATOR(kinds.<<) 'ok'::kinds.mood, OPERATOR(kinds.@@@) 4
SELECT kinds.many(3, 1, 2), kinds.rows_of(2), kinds.poly(1, '{2}'::int[]), 5::kinds.pair, ROW(1, 'b')::kinds.pair::text
SELECT to_tsvector('kinds.words', 'the One, and 2')
SELECT i FROM generate_series(1, 5) i ORDER BY i USING OPERATOR(pg_catalog.>)
SELECT '{[1,2)}'::kinds.float_ranges, 1.5::float8 <@ '[1,2)'::kinds.float_range
SELECT umoptions, srvoptions FROM pg_user_mappings m JOIN pg_foreign_server s ON s.oid = m.srvid
SELECT ftoptions FROM pg_foreign_table
SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE NOT convalidated ORDER BY 1, 2
SELECT indexrelid::regclass::text, indisvalid, indisclustered, indisreplident, indnullsnotdistinct FROM pg_index WHERE indexrelid >= 16384 AND indexrelid::regclass::text ~ 'kinds' ORDER BY 1
SELECT matviewname, ispopulated FROM pg_matviews ORDER BY 1
SELECT stxname, stxkind FROM pg_statistic_ext ORDER BY 1
SELECT relname, relrowsecurity, relforcerowsecurity, relpersistence FROM pg_class WHERE relkind = 'r' AND relnamespace = 'kinds'::regnamespace ORDER BY 1
CREATE ROLE kinds_guest; GRANT USAGE ON SCHEMA kinds TO kinds_guest; GRANT SELECT ON kinds.secret TO kinds_guest; SET LOCAL ROLE kinds_guest; SELECT count(*) FROM kinds.secret
""".strip().split("\n")


def name_of(pair):
    return f"{pair[0]}-{pair[1]}"


def lacking(pair):
    """The packages of 16 and 18 are without contrib and ICU."""
    versions = {pair.source.server.version or 15, pair.target.server.version or 15}
    return ([] if versions <= {14, 15, 17} else ["icu", "contrib"]) + ([] if min(versions) >= 18 else ["18"])


def make_kinds(pair):
    lines = lacking(pair)
    pair.source.sql(re.sub(rf"(?m)^.*-- ({'|'.join(lines)})$", "", KINDS) if lines else KINDS)
    pair.source.sql("CREATE SUBSCRIPTION of_the_user_too CONNECTION 'host=nowhere' PUBLICATION p"
                    " WITH (connect = false, slot_name = NONE)")
    pair.closing.append(lambda: pair.source.sql("DROP SUBSCRIPTION of_the_user_too"))  # or the database stays


def changes_for(pair):
    without = lacking(pair)
    return CHANGES + ("" if "contrib" in without else CHANGES_CONTRIB) + ("" if "18" in without else CHANGES_18)


def in_common_words(line):
    """Servers before 16 show a view's columns with their relation's name, newer ones only where it is needed."""
    line = re.sub(r"\b(thing|happy|counting|never|keyed_kept|z_by_mood|y_between|t|f)\.(?=\w)", "", line)
    # What makes a column NOT NULL has a name from 18 on.
    return re.sub(r"CONSTRAINT \w+_not_null NOT NULL", "NOT NULL", line)


def set_sequences(pair):
    """As the cutover does: they are not in the stream."""
    for schema, name, value in pair.source.sql("SELECT schemaname, sequencename, last_value FROM pg_sequences"):
        pair.target.sql("SELECT setval(format('%%I.%%I', %s, %s)::regclass, %s)", (schema, name, value))


def used(database):
    """What each of USES gives: rows, or the SQLSTATE; nothing stays."""
    results = []
    for statement in USES:
        connection = database.connect(autocommit=False)
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            results.append((statement, cursor.fetchall() if cursor.description else []))
        except psycopg2.Error as error:
            results.append((statement, error.pgcode))
        finally:
            connection.close()
    return results


LARGE_OBJECTS = """
SELECT m.oid::int, md5(lo_get(m.oid)), length(lo_get(m.oid)), obj_description(m.oid, 'pg_largeobject')
  FROM pg_largeobject_metadata m ORDER BY 1"""


def make_large_objects(database):
    """Nothing, a little, exactly one piece, several with a hole; and a table that names them."""
    database.sql("""
        CREATE TABLE picture (id int PRIMARY KEY, content oid);
        INSERT INTO picture SELECT i, lo_from_bytea(0, convert_to(repeat('pixel', s), 'UTF8'))
          FROM (VALUES (1, 0), (2, 3), (3, 52429), (4, 200000)) v (i, s);
        SELECT lo_truncate64(lo_open(content, 131072), 262144) FROM picture WHERE id = 3;
        SELECT lo_put(content, 2000000, 'behind a hole') FROM picture WHERE id = 4;
        SELECT lo_create(3000000000); SELECT lo_put(3000000000, 0, '\\x00ff5c27');
        COMMENT ON LARGE OBJECT 3000000000 IS 'it''s large'""")


@pytest.mark.parametrize("versions", PAIRS, ids=name_of)
def test_objects_of_every_kind_arrive_and_work(version_pair, versions):
    pair = version_pair(*versions)
    make_kinds(pair)
    rewrite = {} if versions[0] == versions[1] else {"rewrite": in_common_words}
    job = pair.running_job()
    pair.check_equal()
    missing, extra = definition_differences(pair.source, pair.target, **rewrite)
    assert set(missing) == set(ONLY_SOURCE) and set(extra) == set(ONLY_TARGET)
    check_sequences(pair.source, pair.target)
    pair.source.sql(changes_for(pair))
    job.drain(pair.source)
    pair.check_equal(only=fingerprints(pair.source).keys() - UNSTREAMED)
    assert job.process.terminate() == 0
    set_sequences(pair)
    at_source, at_target = used(pair.source), used(pair.target)
    assert at_target == at_source
    assert pair.target.sql("SELECT 1 FROM pg_publication UNION ALL SELECT 1 FROM pg_subscription"
                           " WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())") == []


def test_large_objects_are_copied_with_the_load(pair):
    make_large_objects(pair.source)
    job = pair.job()
    checked = job.call("check")
    assert checked.exit == 0 and "5 large objects are copied with the load, but what changes" in checked.out
    process = job.start(fault="snapshot.mid_large_objects:kill@1")
    assert process.wait(60) == -9 and process.reached("snapshot.mid_large_objects")
    assert pair.target.sql(LARGE_OBJECTS) == [], "all of them or none"
    job.start()
    job.wait_for("running")
    found = pair.target.sql(LARGE_OBJECTS)
    assert found == pair.source.sql(LARGE_OBJECTS)
    assert sorted(row[2] for row in found) == [0, 4, 15, 262144, 2000013]
    pair.check_equal()
    assert job.process.terminate() == 0
    job.start()
    job.wait_for("running")
    assert pair.target.sql(LARGE_OBJECTS) == found, "and once"


def test_large_objects_of_a_database_without_tables_and_without_a_stream(pair):
    make_large_objects(pair.source)
    pair.source.sql("DROP TABLE picture")
    done = pair.job(phases=["full"]).run()
    assert done.exit == 0, done.err
    assert pair.target.sql(LARGE_OBJECTS) == pair.source.sql(LARGE_OBJECTS)


def test_a_large_object_that_the_target_has_already_is_not_overwritten(pair):
    make_large_objects(pair.source)
    pair.target.sql("SELECT lo_from_bytea(3000000000, 'of somebody')")
    done = pair.job(retry={"other": "1s"}).run()
    assert done.exit == 5, done.err
    assert "large object 3000000000" in done.err and "lo_unlink(3000000000)" in done.err
    assert pair.target.one("SELECT convert_from(lo_get(3000000000), 'UTF8')") == "of somebody"


OWNERSHIP = """
CREATE ROLE {0}_owner; CREATE ROLE {0}_reader; CREATE ROLE "{0} odd; Owner: x" NOINHERIT CREATEDB CONNECTION LIMIT 3 VALID UNTIL '2030-01-01 00:00+00';
CREATE ROLE {0}_login LOGIN PASSWORD 'secret' IN ROLE {0}_reader; CREATE ROLE {0}_group; CREATE ROLE {0}_elsewhere;
GRANT {0}_group TO {0}_owner WITH ADMIN OPTION;
ALTER SCHEMA kinds OWNER TO {0}_owner; ALTER SCHEMA public OWNER TO "{0} odd; Owner: x";
ALTER TABLE kinds.thing OWNER TO {0}_owner; ALTER TABLE kinds.visit_old OWNER TO "{0} odd; Owner: x";
ALTER FUNCTION kinds.twice(int) OWNER TO {0}_owner; ALTER TYPE kinds.mood OWNER TO {0}_owner;
ALTER VIEW kinds.keyed OWNER TO {0}_owner; ALTER MATERIALIZED VIEW kinds.z_by_mood OWNER TO {0}_owner;
ALTER STATISTICS kinds.thing_statistics OWNER TO {0}_owner; ALTER SEQUENCE kinds.odd OWNER TO {0}_owner;
ALTER SERVER far OWNER TO postgres; CREATE USER MAPPING FOR {0}_reader SERVER far OPTIONS (secret 'y');
GRANT USAGE ON SCHEMA kinds TO {0}_reader, PUBLIC; GRANT ALL ON SCHEMA public TO {0}_reader;
GRANT SELECT, UPDATE ON kinds.thing TO {0}_reader WITH GRANT OPTION; GRANT UPDATE (who) ON kinds.visit TO {0}_reader;
REVOKE EXECUTE ON FUNCTION kinds.twice(int) FROM PUBLIC; GRANT EXECUTE ON FUNCTION kinds.twice(int) TO {0}_reader;
GRANT USAGE ON TYPE kinds.pair TO {0}_reader; GRANT USAGE ON SEQUENCE kinds.odd TO {0}_reader;
GRANT USAGE ON FOREIGN SERVER far TO {0}_reader; GRANT SELECT ON kinds.happy TO PUBLIC;
CREATE POLICY of_reader ON kinds.secret FOR SELECT TO {0}_reader USING (true);
ALTER DEFAULT PRIVILEGES FOR ROLE {0}_owner IN SCHEMA kinds GRANT SELECT ON TABLES TO {0}_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE {0}_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO {0}_owner; GRANT SELECT ON LARGE OBJECT 4711 TO {0}_reader, PUBLIC;
"""
ROLES = """
SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreatedb, r.rolcanlogin, r.rolconnlimit, r.rolvaliduntil,
       (SELECT array_agg(g.rolname || ' ' || m.admin_option ORDER BY 1) FROM pg_auth_members m
          JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid)
  FROM pg_roles r WHERE r.rolname LIKE %s ORDER BY 1"""


def own_roles(pair):
    """A prefix of role names; servers outlive the test, so that the roles go at its end."""
    prefix = f"{pair.name}r"

    def drop(side):
        for (name,) in side.sql("SELECT quote_ident(rolname) FROM pg_roles WHERE rolname LIKE %s", (prefix + "%",)):
            side.sql(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
    pair.closing += [lambda: drop(pair.source), lambda: drop(pair.target)]
    return prefix


@pytest.mark.parametrize("versions", [(15, 15), (18, 18)], ids=name_of)
def test_owners_grants_roles_and_event_triggers_on_request(version_pair, versions):
    pair = version_pair(*versions)
    prefix = own_roles(pair)
    make_kinds(pair)
    pair.source.sql(OWNERSHIP.format(prefix))
    wanted = {"schema": {"event_triggers": True}, "load": {"owners": "keep", "privileges": True}}
    refused = pair.job(**wanted).call("check")
    assert refused.exit == 1
    assert f'CREATE ROLE "{prefix}_reader";' in refused.out and "schema.roles: yes" in refused.out
    wanted["schema"]["roles"] = True
    pair.target.sql(f"CREATE ROLE {prefix}_group CREATEDB")  # is there: it is left as it is
    job = pair.running_job(**wanted)
    missing, extra = definition_differences(pair.source, pair.target, options=("--no-security-labels",))
    assert set(missing) == {line for line in ONLY_SOURCE if line.startswith("ALTER TABLE")}
    assert set(extra) == set(ONLY_TARGET)
    at_source, at_target = (side.sql(ROLES, (prefix + "%",)) for side in (pair.source, pair.target))
    assert f"{prefix}_elsewhere" not in [row[0] for row in at_target], "it has nothing to do with this database"
    assert [row for row in at_target if row[0] != f"{prefix}_group"] == \
        [row for row in at_source if row[0] not in (f"{prefix}_group", f"{prefix}_elsewhere")]
    assert pair.target.one("SELECT rolcreatedb FROM pg_roles WHERE rolname = %s", (f"{prefix}_group",))
    objects = "SELECT lomowner::regrole::text, lomacl::text FROM pg_largeobject_metadata"
    assert pair.target.sql(objects) == pair.source.sql(objects)
    pair.source.sql(changes_for(pair))
    job.drain(pair.source)
    pair.check_equal(only=fingerprints(pair.source).keys() - UNSTREAMED)


def test_a_policy_for_a_role_that_the_target_lacks_is_told_before(pair):
    prefix = own_roles(pair)
    pair.source.sql(f"CREATE ROLE {prefix}_guest; CREATE TABLE t (id int PRIMARY KEY);"
                    f" CREATE POLICY p ON t TO {prefix}_guest USING (true)")
    job = pair.job()
    assert f'CREATE ROLE "{prefix}_guest";' in job.call("check").out
    assert job.run().exit == 2
    assert pair.source.server.slots(job.slot) == set()
    pair.target.sql(f"CREATE ROLE {prefix}_guest")
    job.start()
    job.wait_for("running")
