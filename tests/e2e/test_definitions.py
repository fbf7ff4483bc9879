"""Definitions of a job that chooses or renames. The oracle of the names is a database on the destination's server, made
from the source's dump and renamed by the ALTERs that are written here; that of the choice are the catalogs."""
import re
import subprocess

import pytest

from harness.oracle import check_definitions, definition_differences, dump_program, fingerprints
from harness.place import clean_environment, postgres_bin
from test_objects import OWNERSHIP, PAIRS, in_common_words, make_kinds, name_of, own_roles
from test_pagila import pagila_load

# Bodies of functions are text that no server follows: here they name nothing that changes.
PLAIN_BODIES = """
UPDATE pg_proc SET prosrc = replace(replace(prosrc, 'kinds.', ''), 'log', 'l')
 WHERE pronamespace = 'kinds'::regnamespace AND prosqlbody IS NULL AND probin IS NULL;
ALTER FUNCTION kinds.many RESET search_path;
"""


def reference_of(pair, alters, options=("--no-owner", "--no-privileges")):
    """The source's definitions in a database beside the destination's, renamed by hand."""
    reference = pair.target.server.database(pair.target.name + "_reference")
    pair.closing.append(reference.drop)
    dump = subprocess.run(
        [dump_program(pair.source.server), "--schema-only", "--no-publications", "--no-subscriptions", *options,
         "--exclude-table=public.dts_*", "-h", pair.source.server.directory, "-p",
         str(pair.source.server.port), "-U", "postgres", pair.source.name],
        check=True, capture_output=True, env=clean_environment()).stdout
    dump = re.sub(rb"(?m)^.* SET \(pg_attver=\d+\);$|\bpg_attver=\d+, |, pg_attver=\d+\b", b"", dump)
    psql_bin = postgres_bin(18) / "psql" if pair.target.server.version else postgres_bin() / "psql"
    done = subprocess.run([psql_bin, "-qX", "-h", reference.server.directory, "-p", str(reference.server.port),
                           "-U", "postgres", "-o", "/dev/null", reference.name],
                          input=dump, capture_output=True, env=clean_environment())
    errors = [line for line in done.stderr.decode().splitlines() if "ERROR" in line]
    assert all('schema "public" already exists' in line or "transaction_timeout" in line for line in errors), errors
    for name in reference.sql("SELECT evtname FROM pg_event_trigger") if options else []:
        reference.sql(f'DROP EVENT TRIGGER "{name[0]}"')
    reference.sql(alters)
    return reference


LONG = "x" * 63
KINDS_NAMES = {"schemas": {"kinds": "Odd. sorts", "extensions": LONG},
               "tables": {"kinds.thing": "crm.client", "kinds.happy": '"Odd. sorts"."Hap""py"', "kinds.visit": "crm.stay",
                          "kinds.visit_old": "crm.stay_old", "kinds.note": '"Odd. sorts".log', "kinds.log": '"Odd. sorts".note',
                          "kinds.odd": "crm.even"},
               "columns": {"kinds.thing": {"name": "Full name", "id": "code", "code": "id"},
                           "kinds.visit": {"day": LONG}, "kinds.parent": {"v": "Vee.", "id": "number"},
                           "kinds.happy": {"name": "who"}, "kinds.typed": {"a": "first"}}}
KINDS_ALTERS = f"""
ALTER TABLE kinds.thing RENAME COLUMN name TO "Full name"; ALTER TABLE kinds.thing RENAME COLUMN id TO other;
ALTER TABLE kinds.thing RENAME COLUMN code TO id; ALTER TABLE kinds.thing RENAME COLUMN other TO code;
ALTER TABLE kinds.visit RENAME COLUMN day TO {LONG};
ALTER TABLE kinds.parent RENAME COLUMN v TO "Vee."; ALTER TABLE kinds.parent RENAME COLUMN id TO number;
ALTER VIEW kinds.happy RENAME COLUMN name TO who;
ALTER TYPE kinds.pair RENAME ATTRIBUTE a TO first CASCADE;
ALTER VIEW kinds.happy RENAME TO "Hap""py";
ALTER TABLE kinds.note RENAME TO other; ALTER TABLE kinds.log RENAME TO note; ALTER TABLE kinds.other RENAME TO log;
CREATE SCHEMA crm;
ALTER TABLE kinds.thing RENAME TO client; ALTER TABLE kinds.client SET SCHEMA crm;
ALTER TABLE kinds.visit RENAME TO stay; ALTER TABLE kinds.stay SET SCHEMA crm;
ALTER TABLE kinds.visit_old RENAME TO stay_old; ALTER TABLE kinds.stay_old SET SCHEMA crm;
ALTER SEQUENCE kinds.odd RENAME TO even; ALTER SEQUENCE kinds.even SET SCHEMA crm;
ALTER SCHEMA kinds RENAME TO "Odd. sorts"; ALTER SCHEMA extensions RENAME TO {LONG};
"""


@pytest.mark.parametrize("versions", PAIRS, ids=name_of)
def test_a_schema_of_every_kind_gets_other_names(version_pair, versions):
    pair = version_pair(*versions)
    make_kinds(pair)
    pair.source.sql(PLAIN_BODIES)
    done = pair.job(phases=["schema"], objects={"rename": KINDS_NAMES}).run()
    assert done.exit == 0, done.err
    check_definitions(reference_of(pair, KINDS_ALTERS), pair.target)
    assert pair.target.server.sql("SELECT datname FROM pg_database WHERE datname LIKE 'dts_sync_%'") == []


INVENTORY = """
SELECT i.type || ' ' || i.identity || coalesce(': ' || obj_description(o.objid, o.classid::regclass::name), '')
  FROM (SELECT DISTINCT classid, objid FROM pg_depend WHERE objid >= 16384 AND deptype IN ('n', 'a', 'i', 'P', 'S')
        UNION SELECT 'pg_namespace'::regclass, oid FROM pg_namespace
        UNION SELECT 'pg_extension'::regclass, oid FROM pg_extension) o,
       LATERAL pg_identify_object(o.classid, o.objid, 0) i
 WHERE i.identity !~ 'walferry|dts_|pg_toast|pg_temp|on internal|RI_ConstraintTrigger' AND i.type NOT IN ('type', 'rule')
   AND i.identity NOT IN ('information_schema', 'pg_catalog', 'public')
   AND (i.type <> 'trigger' OR NOT (SELECT tgisinternal FROM pg_trigger WHERE oid = o.objid))
 UNION ALL SELECT 'column ' || attrelid::regclass || '.' || attname FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
 WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f') AND attrelid >= 16384
   AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname IN ('walferry', 'pg_catalog'))
   AND relname !~ '^dts_'
 UNION ALL SELECT 'type ' || oid::regtype FROM pg_type WHERE oid >= 16384 AND typrelid = 0 AND typelem = 0"""


def inventory(database):
    connection = database.connect()
    try:
        cursor = connection.cursor()
        cursor.execute("SET search_path = ''")
        cursor.execute(INVENTORY)
        return {row[0] for row in cursor.fetchall()}
    finally:
        connection.close()


SHOP = """
CREATE SCHEMA shop; CREATE SCHEMA other; CREATE SCHEMA types;
CREATE TYPE types.state AS ENUM ('new', 'old'); CREATE TYPE types.never AS ENUM ('used');
CREATE DOMAIN shop.money AS numeric CHECK (VALUE >= 0);
CREATE FUNCTION other.tax(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE RETURN $1 * 2;
CREATE FUNCTION other.unused() RETURNS int LANGUAGE sql RETURN 1;
CREATE FUNCTION other.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION shop.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE SEQUENCE other.numbers;
CREATE TABLE shop.customer (id serial PRIMARY KEY, name text, secret text, loud text GENERATED ALWAYS AS (upper(secret)) STORED,
    UNIQUE (secret), CHECK (secret <> name), CHECK (id > 0));
CREATE INDEX customer_name ON shop.customer (name); CREATE INDEX customer_secret ON shop.customer (name) WHERE secret IS NULL;
CREATE TABLE shop.orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int REFERENCES shop.customer,
    state types.state DEFAULT 'new', number bigint DEFAULT nextval('other.numbers'), total shop.money,
    CHECK (other.tax(total) > 0));
CREATE TABLE shop.line ("order" int REFERENCES shop.orders, item int, amount int, PRIMARY KEY ("order", item));
CREATE TABLE shop.tmp_note (id serial PRIMARY KEY, "order" int REFERENCES shop.orders, v text);
CREATE INDEX tmp_note_v ON shop.tmp_note (v); COMMENT ON TABLE shop.tmp_note IS 'gone'; COMMENT ON COLUMN shop.tmp_note.v IS 'gone';
COMMENT ON INDEX shop.tmp_note_v IS 'gone'; COMMENT ON CONSTRAINT tmp_note_pkey ON shop.tmp_note IS 'gone';
ALTER TABLE shop.tmp_note ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON shop.tmp_note USING (true);
ALTER TABLE shop.customer ADD note int, ADD FOREIGN KEY (note) REFERENCES shop.tmp_note;
COMMENT ON TABLE shop.customer IS 'kept'; COMMENT ON CONSTRAINT customer_note_fkey ON shop.customer IS 'gone';
CREATE TRIGGER a BEFORE INSERT ON shop.tmp_note FOR EACH ROW EXECUTE FUNCTION shop.stamp();
CREATE TRIGGER b BEFORE INSERT ON shop.customer FOR EACH ROW EXECUTE FUNCTION shop.stamp();
CREATE TRIGGER c BEFORE INSERT ON shop.customer FOR EACH ROW EXECUTE FUNCTION other.touch();
CREATE VIEW shop.notes AS SELECT v FROM shop.tmp_note; CREATE VIEW shop.of_notes AS SELECT v FROM shop.notes;
CREATE MATERIALIZED VIEW shop.counted AS SELECT count(*) FROM shop.of_notes;
CREATE FUNCTION shop.first_note() RETURNS SETOF shop.tmp_note LANGUAGE sql BEGIN ATOMIC SELECT * FROM shop.tmp_note; END;
CREATE VIEW shop.secrets AS SELECT secret FROM shop.customer; CREATE VIEW shop.names AS SELECT name FROM shop.customer;
CREATE STATISTICS shop.on_customer ON name, secret FROM shop.customer;
CREATE TABLE other.event (id int, day date, note text, number serial, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE shop.event_1 PARTITION OF other.event FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE other.event_2 PARTITION OF other.event DEFAULT; CREATE INDEX event_note ON other.event (note);
CREATE INDEX of_leaf ON other.event_2 (id) WHERE note = 'x';
CREATE CAST (types.state AS int) WITH INOUT; CREATE CAST (types.never AS int) WITH INOUT;
CREATE OPERATOR other.@@@ (FUNCTION = other.tax, RIGHTARG = numeric);
"""


def matching(database, *patterns):
    return {what for what in inventory(database) if any(re.search(pattern, what) for pattern in patterns)}


@pytest.mark.parametrize("renames", [False, True])
def test_what_hangs_on_an_excluded_table_is_left_out_with_it(pair, renames):
    pair.source.sql(SHOP)
    objects = {"exclude": ["shop.tmp_*", "other.touch"]} | ({"rename": {"schemas": {"types": "kinds"}}} if renames else {})
    done = pair.job(phases=["schema"], objects=objects).run()
    assert done.exit == 0, done.err
    gone = matching(pair.source, r"tmp_note", r"shop\.(notes|of_notes|counted|first_note)", r"customer_note_fkey",
                    r"touch", r"^trigger c ")
    assert len(gone) > 20
    expected = {re.sub(r"\btypes\b", "kinds", what) if renames else what for what in inventory(pair.source) - gone}
    assert inventory(pair.target) == expected
    left_out = set(re.findall("left out: (.*), because (.*) is", done.err))
    checked = pair.job(name="again", phases=["schema"], objects=objects).call("check")
    assert "left-out" in checked.out and "view shop.notes is left out, because table shop.tmp_note is" in checked.out
    assert {("constraint customer_note_fkey on table shop.customer", "table shop.tmp_note"),
            ("trigger c on table shop.customer", "function other.touch()"), ("view shop.notes", "table shop.tmp_note"),
            ("view shop.of_notes", "table shop.tmp_note"), ("materialized view shop.counted", "table shop.tmp_note"),
            ("function shop.first_note()", "table shop.tmp_note")} == left_out


# An operator goes, and another one names it as its commutator: the text of that one stays as it is.
LEFT_ALONE = {"FUNCTION kinds.below": (["    RIGHTARG = kinds.mood"],
                                       ["    RIGHTARG = kinds.mood,", "    COMMUTATOR = OPERATOR(kinds.<<)"])}


@pytest.mark.parametrize("excluded", ["TABLE kinds.thing", "TABLE kinds.visit", "TABLE kinds.parent", "FUNCTION kinds.stamp",
                                      "FUNCTION kinds.note_down", "TABLE kinds.log, kinds.secret", "FUNCTION kinds.below",
                                      "FUNCTION kinds.to_pair", "AGGREGATE kinds.total(int)"])
def test_what_is_left_out_is_what_the_server_would_drop(version_pair, excluded):
    pair = version_pair(18, 18)
    make_kinds(pair)
    names = re.sub(r"\(.*?\)", "", re.sub("^[A-Z ]+ ", "", excluded)).split(", ")
    reference = reference_of(pair, f"DROP {excluded} CASCADE")
    done = pair.job(phases=["schema"], objects={"exclude": names}).run()
    assert done.exit == 0, done.err
    assert definition_differences(reference, pair.target, rewrite=in_common_words) == LEFT_ALONE.get(excluded, ([], []))


def test_included_tables_bring_what_they_need_and_nothing_else(pair):
    pair.source.sql(SHOP)
    done = pair.job(phases=["schema"],
                    objects={"include": ["shop.orders", "shop.line", "shop.event_1", "shop.stamp"]}).run()
    assert done.exit == 0, done.err
    mine = matching(pair.source, r"\bshop\.(orders|line|event_1|money|stamp)\b", r"shop\.(orders|line|event_1)_", r"^extension",
                    r"types\.state", r"other\.(numbers|tax|event)\b", r"other\.event_(pkey|number|note)", r"^schema (shop|other|types|public)$")
    others = matching(pair.source, "customer_fkey", "tmp_note", r"\btrigger\b")
    assert inventory(pair.target) == mine - others
    assert re.findall("left out: (.*), because (.*) is", done.err) == [
        ("constraint orders_customer_fkey on table shop.orders", "table shop.customer")]


def test_columns_that_a_list_leaves_out(pair):
    pair.source.sql(SHOP)
    done = pair.job(phases=["schema"], objects={"tables": {"shop.customer": {"columns": ["id", "name", "note"]},
                                                           "other.event": {"columns": ["id", "day"]}}}).run()
    assert done.exit == 0, done.err
    assert inventory(pair.target) == inventory(pair.source) - matching(
        pair.source, r"customer\.(secret|loud)", "customer_secret", "customer_check", r"shop\.secrets", "on_customer",
        "event_note", r"event_\d_note", "of_leaf", "event_number", r"event(_\d)?\.(note|number)", "for column (note|number)")
    left_out = set(re.findall("left out: (.*), because (.*) is", done.err))
    assert ("view shop.secrets", "column secret of table shop.customer") in left_out
    assert ("index other.of_leaf", "column note of table other.event_2") in left_out


def test_a_table_that_needs_what_is_excluded_is_refused(pair):
    pair.source.sql(SHOP)
    before = inventory(pair.target)
    done = pair.job(objects={"exclude": ["other.tax"]}).run()
    assert done.exit == 2 and "table shop.orders" in done.err and "function other.tax(numeric)" in done.err, done.err
    assert inventory(pair.target) == before
    assert pair.source.slot("dts_sync_" + pair.jobs[-1].name) is None


def test_tables_that_may_not_be_read_can_be_left_out(pair):
    pair.source.sql("""CREATE SCHEMA shop; CREATE TABLE shop.open (id int PRIMARY KEY); CREATE TABLE shop."cl.""osed" (id int);
        DO $$ BEGIN CREATE ROLE walferry_reader LOGIN; EXCEPTION WHEN duplicate_object THEN END $$;
        GRANT USAGE ON SCHEMA shop TO walferry_reader; GRANT SELECT ON shop.open TO walferry_reader""")
    dsn = pair.source.dsn(user="walferry_reader")
    job = pair.job(phases=["schema", "full"], source_dsn=dsn, objects={"exclude": ['shop."cl.""osed"']})
    done = job.run()
    assert done.exit == 0, done.err
    assert pair.target.sql("SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r'") == [("open",)]


def test_owners_grants_and_event_triggers_of_what_gets_another_name(version_pair):
    pair = version_pair(18, 18)
    prefix = own_roles(pair)
    make_kinds(pair)
    pair.source.sql(PLAIN_BODIES + OWNERSHIP.format(prefix))
    done = pair.job(phases=["schema"], schema={"event_triggers": True, "roles": True}, objects={"rename": KINDS_NAMES},
                    load={"owners": "keep", "privileges": True}).run()
    assert done.exit == 0, done.err
    crm = f"ALTER SCHEMA crm OWNER TO {prefix}_owner; GRANT USAGE ON SCHEMA crm TO {prefix}_reader, PUBLIC"
    reference = reference_of(pair, KINDS_ALTERS + crm, options=())
    check_definitions(reference, pair.target, options=("--no-security-labels",))


def test_tables_that_are_there_under_their_new_names_stay(pair):
    pair.source.sql("""CREATE TYPE mood AS ENUM ('a'); CREATE TABLE customer (id serial PRIMARY KEY, name text, m mood);
        CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customer); CREATE VIEW names AS SELECT name FROM customer;
        INSERT INTO customer (name) SELECT 'c' || i FROM generate_series(1, 9) i; INSERT INTO orders SELECT i, i FROM generate_series(1, 9) i""")
    pair.target.sql("""CREATE SCHEMA crm; CREATE TYPE crm.mood AS ENUM ('a'); CREATE TABLE crm.client (id serial PRIMARY KEY, title text, m crm.mood);
        INSERT INTO crm.client (title) VALUES ('mine')""")
    done = pair.job(phases=["schema", "full"], existing="keep", objects={"rename": {
        "schemas": {"public": "crm"}, "tables": {"public.customer": "crm.client"},
        "columns": {"public.customer": {"name": "title"}}}}).run()
    assert done.exit == 0, done.err
    assert pair.target.sql("SELECT count(*), min(title), (SELECT count(*) FROM crm.orders), (SELECT count(*) FROM crm.names)"
                           " FROM crm.client") == [(9, "c2", 9, 9)]
    assert pair.target.one("SELECT title FROM crm.client WHERE id = 1") == "mine"
    assert pair.target.one("SELECT count(*) FROM pg_constraint WHERE confrelid = 'crm.client'::regclass") == 1


@pytest.mark.parametrize("objects", [{}, {"rename": {"schemas": {"shop": "crm"}}}], ids=["same", "other"])
def test_a_schema_that_is_there_is_used(pair, objects):
    pair.source.sql("CREATE SCHEMA shop; CREATE TABLE shop.t (id int PRIMARY KEY); INSERT INTO shop.t VALUES (1)")
    schema = "crm" if objects else "shop"
    pair.target.sql(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.mine (id int)")
    done = pair.job(phases=["schema", "full"], objects=objects).run()
    assert done.exit == 0, done.err
    assert pair.target.one(f"SELECT id FROM {schema}.t") == 1


PAGILA_NAMES = {"rename": {"schemas": {"public": "shop"},
                           "tables": {"public.customer": "crm.client", "public.payment": "shop.paid"},
                           "columns": {"public.film": {"rental_rate": "rate"}, "public.customer": {"first_name": "Name"},
                                       "public.payment": {"amount": "sum"}}},
                "exclude": ["public.get_customer_balance", "public.rewards_report"]}
PAGILA_ALTERS = """
DROP FUNCTION public.get_customer_balance; DROP FUNCTION public.rewards_report;
ALTER TABLE public.film RENAME COLUMN rental_rate TO rate; ALTER TABLE public.customer RENAME COLUMN first_name TO "Name";
ALTER TABLE public.payment RENAME COLUMN amount TO sum; ALTER TABLE public.payment RENAME TO paid;
ALTER TABLE public.customer RENAME TO client; CREATE SCHEMA crm; ALTER TABLE public.client SET SCHEMA crm;
ALTER SCHEMA public RENAME TO shop; COMMENT ON SCHEMA shop IS NULL;
CREATE SCHEMA public; COMMENT ON SCHEMA public IS 'standard public schema';
"""


@pytest.mark.parametrize("versions", PAIRS, ids=name_of)
def test_pagila_gets_other_names(version_pair, versions):
    pair = version_pair(*versions)
    pagila_load(pair.source)
    job = pair.running_job(objects=PAGILA_NAMES, identity="full")
    check_definitions(reference_of(pair, PAGILA_ALTERS), pair.target)
    pair.source.sql("UPDATE customer SET first_name = 'Changed' WHERE customer_id < 10; UPDATE film SET rental_rate = 3;"
                    "INSERT INTO payment (customer_id, staff_id, rental_id, amount, payment_date)"
                    " VALUES (1, 1, 1, 7.5, '2007-02-03'); DELETE FROM payment_p2007_03")
    job.drain(pair.source)
    renamed = {"public.customer": "crm.client", "public.payment": "shop.paid"}
    there = fingerprints(pair.target)
    for name, found in fingerprints(pair.source).items():
        if "dts_" not in name:
            assert there[renamed.get(name, name.replace("public.", "shop."))] == found, name
    last = "SELECT last_value FROM {}.rental_rental_id_seq"
    assert pair.target.one(last.format("shop")) == pair.source.one(last.format("public"))
    assert pair.target.one('SELECT name FROM shop.customer_list WHERE id = 1').startswith("Changed")


def upper_case_alters(database):
    """Every relation, column and schema; written out by the catalogs, one by one."""
    statements = [row[0] for row in database.sql("""
        SELECT format('ALTER TABLE %I.%I RENAME COLUMN %I TO %I', n.nspname, c.relname, attname, upper(attname))
          FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
         WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND attnum > 0 AND NOT attisdropped AND attinhcount = 0 AND reloftype = 0
           AND nspname !~ '^pg_|information_schema' AND attname <> upper(attname)
        UNION ALL SELECT format('ALTER TYPE %s RENAME ATTRIBUTE %I TO %I CASCADE', reloftype::regtype, attname, upper(attname))
          FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE reloftype <> 0 AND attnum > 0 AND attinhcount = 0
        UNION ALL SELECT format('ALTER TABLE %I.%I RENAME TO %I', n.nspname, c.relname, upper(relname))
          FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
         WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND nspname !~ '^pg_|information_schema' AND relname <> upper(relname)""")]
    return ";\n".join(statements)


@pytest.mark.parametrize("versions", PAIRS, ids=name_of)
def test_every_kind_in_upper_case(version_pair, versions):
    pair = version_pair(*versions)
    make_kinds(pair)
    pair.source.sql("DROP TRIGGER IF EXISTS x ON kinds.log; UPDATE pg_proc SET prosrc = 'BEGIN RETURN NULL; END' WHERE prosqlbody IS NULL"
                    " AND pronamespace = 'kinds'::regnamespace AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql');"
                    "UPDATE pg_proc SET prosrc = regexp_replace(prosrc, 'kinds[.]|state|v', '', 'g') WHERE prosqlbody IS NULL"
                    " AND pronamespace = 'kinds'::regnamespace AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'sql');"
                    "ALTER FUNCTION kinds.many RESET search_path")
    reference = reference_of(pair, "SELECT 1")
    done = pair.job(phases=["schema", "full"], objects={"case": "upper"}).run()
    assert done.exit == 0, done.err
    reference.sql(upper_case_alters(reference))
    reference.sql('ALTER SCHEMA kinds RENAME TO "KINDS"; ALTER SCHEMA extensions RENAME TO "EXTENSIONS"; CREATE SCHEMA "PUBLIC"')
    check_definitions(reference, pair.target)


def test_a_schema_of_every_kind_moves_into_one_that_is_there(version_pair):
    """One by one, because the other schema's name is taken."""
    pair = version_pair(18, 18)
    make_kinds(pair)
    pair.source.sql(PLAIN_BODIES + "DROP TYPE kinds.later")
    reference = reference_of(pair, "SELECT 1")
    done = pair.job(phases=["schema", "full"], objects={"rename": {"schemas": {"kinds": "public"}}}).run()
    assert done.exit == 0, done.err
    assert pair.target.sql("SELECT 1 FROM pg_namespace WHERE nspname ~ 'kinds|walferry_'") == []
    moved = {re.sub(r"\bkinds\.", "public.", what) for what in inventory(reference)
             if what not in ("schema kinds: every kind", "event trigger on_ddl: an event trigger")}
    assert inventory(pair.target) == moved


def test_schemas_exchange_their_names_and_are_merged(pair):
    pair.source.sql("""CREATE SCHEMA a; CREATE SCHEMA b; CREATE SCHEMA c; CREATE SCHEMA d;
        CREATE TABLE a.t (id int PRIMARY KEY, x text); CREATE TABLE b.t (id serial PRIMARY KEY REFERENCES a.t, y text);
        CREATE TYPE c.e AS ENUM ('x'); CREATE TABLE c.u (id serial PRIMARY KEY, v c.e, k int GENERATED ALWAYS AS (1) STORED);
        CREATE VIEW d.w AS SELECT * FROM c.u JOIN a.t USING (id); CREATE TABLE d.only (id int PRIMARY KEY);
        INSERT INTO a.t VALUES (1, 'a'); INSERT INTO b.t VALUES (1, 'b'); INSERT INTO c.u (v) VALUES ('x')""")
    done = pair.job(phases=["schema", "full"], objects={"rename": {"schemas": {"a": "b", "b": "a", "c": "d"},
                                                                  "tables": {"a.t": "b.s", "c.u": "d.only", "d.only": "d.u"}}}).run()
    assert done.exit == 0, done.err
    assert pair.target.sql("SELECT nspname FROM pg_namespace WHERE nspname ~ '^.$|walferry_' ORDER BY 1") == [("a",), ("b",), ("d",)]
    assert pair.target.sql("SELECT s.x, t.y, o.v::text, w.id FROM b.s JOIN a.t USING (id) JOIN d.only o USING (id) JOIN d.w USING (id)") == \
        [("a", "b", "x", 1)]
    assert pair.target.one("SELECT nextval(pg_get_serial_sequence('d.only', 'id'))") == 2


@pytest.mark.parametrize("fault", ["snapshot.scratch_made:kill", "snapshot.before_handover:kill", "snapshot.mid_table:kill@1"])
def test_a_job_that_renames_is_killed_and_goes_on(pair, fault):
    bank = pair.bank(ballast_tables=1, ballast_rows=2000)
    objects = {"rename": {"schemas": {"public": "bank"}}, "case": "upper"}
    job = pair.job(objects=objects)
    process = job.start(fault=fault)
    assert process.wait(60) == -9
    scratch = "SELECT count(*) FROM pg_database WHERE datname LIKE 'dts_sync_%'"
    assert pair.target.one(scratch) == (1 if "scratch" in fault else 0)
    job.start()
    job.wait_for("running")
    bank.stop()
    job.drain(pair.source)
    assert pair.target.one(scratch) == 0
    tables = [row[0] for row in pair.source.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename !~ 'dts_'")]
    assert tables
    for table in tables:
        rows = "SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {} t"
        assert pair.source.one(rows.format(f"public.{table}")) == pair.target.one(rows.format(f'bank."{table.upper()}"'))
    assert pair.target.one("SELECT count(*) FROM pg_index WHERE indrelid = ANY (SELECT oid FROM pg_class"
                           " WHERE relnamespace = 'bank'::regnamespace)") == \
        pair.source.one("SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indrelid"
                        " WHERE relnamespace = 'public'::regnamespace AND relname !~ 'dts_'")


def test_cleanup_drops_the_database_that_a_killed_run_left(pair):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = pair.job(objects={"case": "upper"})
    assert job.start(fault="snapshot.scratch_made:kill").wait(60) == -9
    assert pair.target.one("SELECT count(*) FROM pg_database WHERE datname LIKE 'dts_sync_%'") == 1
    cleaned = job.call("cleanup")
    assert cleaned.exit == 0 and "database for new names" in cleaned.out + cleaned.err
    assert pair.target.one("SELECT count(*) FROM pg_database WHERE datname LIKE 'dts_sync_%'") == 0


def test_code_that_names_what_gets_another_name_is_refused(pair):
    pair.source.sql("""CREATE SCHEMA "o.dd"; CREATE TABLE t (id int PRIMARY KEY, note text, other text); CREATE TABLE "o.dd"."T '" (id int PRIMARY KEY);
        CREATE FUNCTION plain() RETURNS int LANGUAGE sql AS 'SELECT note FROM (SELECT 1 AS note) s';
        CREATE FUNCTION reads() RETURNS text LANGUAGE sql AS 'SELECT "note" FROM t';
        CREATE FUNCTION dynamic() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'SELECT 1 FROM "o.dd"."T ''"'; END$$;
        CREATE FUNCTION handed(r t) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN r.NOTE; END';
        CREATE FUNCTION parsed() RETURNS text BEGIN ATOMIC SELECT note FROM t; END;
        CREATE FUNCTION pathed() RETURNS int LANGUAGE sql SET search_path = "o.dd" AS 'SELECT 1';
        CREATE FUNCTION args() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER by_name BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION args('id', 'note');
        CREATE TRIGGER quiet BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION args('id', 'other')""")
    names = {"rename": {"schemas": {'o.dd': "even"}, "columns": {"public.t": {"note": "remark"}}}}
    job = pair.job(objects=names)
    done = job.run()
    assert done.exit == 2 and "renamed-in-code: 5 routines and triggers" in done.err, done.err
    for named in ("function public.reads() (note)", "function public.dynamic() (o.dd)", "function public.handed(public.t) (note)",
                  "function public.pathed() (o.dd)", "trigger by_name on table public.t (note)"):
        assert named in done.err
    assert pair.source.slot(job.slot) is None and pair.target.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'even'") == []
    pair.source.sql("DROP TRIGGER by_name ON t")
    without = {"exclude": ["public.reads", "public.dynamic", "public.handed", "public.pathed"]}
    done = pair.job(phases=["schema", "full"], objects=names | without).run()
    assert done.exit == 0, done.err
    pair.target.sql("INSERT INTO t VALUES (1, 'here')")
    assert pair.target.one("SELECT parsed()") == "here"


def test_without_the_right_to_make_a_database_nothing_gets_another_name(pair):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    role = f"maker_{pair.name}"
    pair.target.sql(f"CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {pair.target.name} TO {role}; GRANT CREATE ON SCHEMA public TO {role}")
    job = pair.job(phases=["schema", "full"], objects={"case": "upper"}, target_dsn=pair.target.dsn(user=role))
    done = job.run()
    assert done.exit == 2 and "rename-rights" in done.err and f"ALTER ROLE {role} CREATEDB" in done.err.replace('"', ""), done.err
    pair.target.sql(f"ALTER ROLE {role} CREATEDB")
    done = job.run()
    assert done.exit == 0, done.err
    assert pair.target.sql('SELECT "ID" FROM "PUBLIC"."T"') == []
