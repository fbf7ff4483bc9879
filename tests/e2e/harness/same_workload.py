"""The workload of test_same_as_debezium.py: every type with the values at which programs go wrong, and everything that
happens to rows and tables."""
from contextlib import closing

from .type_values import (EXTENSIONS_TYPES, MOMENTS, NUMBERS, PLACES, RANGES, SETUP, SYSTEM, TEXTS, USERS, array_of,
                          kind, literal)

VERSION = 15
EXTENSIONS = ["citext", "hstore", "isn", "ltree", "cube", "seg", "lo", "intarray", "postgis"]
# What type_values has no column of its own for.
MORE = [
    kind("timestamp(0)", "1999-12-31 23:59:59.5", "infinity", "-infinity", arrays=False), kind("timestamp(6)", "1999-12-31 23:59:59.123456"),
    kind("timestamp(4)", "1969-12-31 23:59:59.9999"), kind("timestamptz(0)", "1999-12-31 23:59:59+02"),
    kind("timestamptz(3)", "2026-07-01 12:00:00.120+00", "2026-07-01 12:00:00+00"), kind("time(3)", "23:59:59.999"),
    kind("time(6)", "12:34:56.100000"), kind("timetz(3)", "12:00:00.5-08"), kind("timetz(0)", "00:00:00+00"),
    kind("bit(1)", "1", "0"), kind("bit(8)", "10000001"), kind("bit(16)", "0000000100000000"), kind("varbit(1)", "1", "0"),
    kind("varbit(20)", "10000001", "000000000001"), kind("numeric(1,0)", "7"), kind("numeric(38,10)", "1.5", "-0.0000000001"),
    kind("numeric(5)", "12345"), kind("char(1)", "x"), kind("int4", "1"), kind("date", "1970-01-01", "0001-01-01", "1582-10-04"),
    kind("timestamp", "1582-10-04 12:00:00", "1582-10-15 00:00:00", "0001-01-01 00:00:00", "1970-01-01 00:00:00", "9999-12-31 23:59:59.999999"),
    kind("timestamptz", "1582-10-04 12:00:00+00", "0001-01-01 00:00:00+00", "1970-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"),
    kind("float8", "1e7", "123456789", "1e21", "1e-3", "1e-4", "100", "3.141592653589793", "1.5"),
    kind("float4", "1e7", "16777217", "1e-3", "3.14159", "1.5"), kind("numeric", "123.4500", "-1", "1e20", "0.1"),
    kind("text", "<a>&'\"/\u007f\u0085", "\U0001f600", "a\u2029b"), kind("json", '{"z": [1,  2]}'), kind("interval", "1 day", "1 mon", "-1 sec", "1 year 2 mons 3 days 04:05:06.7"),
]


# Where Debezium's task fails for good (event.processing.failure.handling.mode=fail): java.lang.Integer of the hours.
POISON = {"-2562047788:00:54.775807"}


def group(name, kinds):
    """A table with a column of each kind; row i has the i-th value of each, NULL behind the last."""
    kinds = [each for each in kinds if each.since <= VERSION and each.name != "contrib.vector" and each.needs != "vector"
             and not each.name.startswith(("contrib.halfvec", "contrib.sparsevec"))]
    values = [[value for value in each.values_for(VERSION) if value.text not in POISON] for each in kinds]
    columns = ", ".join(f"c{number} {each.name}" for number, each in enumerate(kinds))
    rows = [", ".join(literal(column[row], each.name) if row < len(column) else "NULL" for column, each in zip(values, kinds))
            for row in range(max(map(len, values)) + 1)]
    return f"CREATE TABLE same.{name} (id int PRIMARY KEY, {columns}); ALTER TABLE same.{name} REPLICA IDENTITY FULL", [
        f"INSERT INTO same.{name} VALUES ({number}, {row})" for number, row in enumerate(rows)], kinds


GROUPS = {"numbers": NUMBERS, "texts": TEXTS, "moments": MOMENTS, "places": PLACES, "ranges": RANGES, "systems": SYSTEM,
          "users": USERS, "extensions": EXTENSIONS_TYPES, "more": MORE}
GROUPS |= {f"{name}_arrays": [array_of(each) for each in kinds if each.arrays] for name, kinds in GROUPS.items()}
MADE = {name: group(name, kinds) for name, kinds in GROUPS.items()}

TABLES = SETUP + """
CREATE SCHEMA same;
CREATE SCHEMA "Odd Schema";
CREATE TYPE same.level AS ENUM ('low', 'a,b', 'high');
ALTER TYPE same.level ADD VALUE 'middle' BEFORE 'high';
CREATE DOMAIN same.code AS varchar(10) DEFAULT 'dom' NOT NULL;
CREATE DOMAIN same.price AS numeric(8,2);
CREATE SEQUENCE same.numbering;
CREATE TABLE same.plain (id int PRIMARY KEY, v text);
CREATE TABLE same.composite (b text, a int, v numeric(10,2), c timestamptz, PRIMARY KEY (a, b));
CREATE TABLE same.by_index (v text, a int NOT NULL, b int NOT NULL, n int UNIQUE);
CREATE UNIQUE INDEX by_index_b ON same.by_index (b);
ALTER TABLE same.by_index REPLICA IDENTITY USING INDEX by_index_b;
CREATE TABLE same.identity_index (v text, a int NOT NULL, b int PRIMARY KEY);
CREATE UNIQUE INDEX identity_index_a ON same.identity_index (a, b);
ALTER TABLE same.identity_index REPLICA IDENTITY USING INDEX identity_index_a;
CREATE TABLE same.no_key (a int, v text);
ALTER TABLE same.no_key REPLICA IDENTITY FULL;
CREATE TABLE same.no_key_full (a int, v text);
ALTER TABLE same.no_key_full REPLICA IDENTITY FULL;
CREATE TABLE same.nothing (id int PRIMARY KEY, v text);
CREATE TABLE same.whole (id int PRIMARY KEY, v text, w int);
ALTER TABLE same.whole REPLICA IDENTITY FULL;
CREATE TABLE same.typed_key (u uuid, d date, t timestamp, n numeric(6,2), e same.level, o text, PRIMARY KEY (u, d, t, n, e));
CREATE TABLE same.loose_key (n numeric PRIMARY KEY, v int);
CREATE TABLE same.toast (id int PRIMARY KEY, t text, b bytea, j jsonb, ts text[], is_ int[], us uuid[], h contrib.hstore, x xml, n int, bs bytea[],
                         js json, ds date[], ls bigint[], nn text NOT NULL DEFAULT 'd', nb bytea NOT NULL, c contrib.citext, num numeric, vs varchar[], fs float8[], bits varbit);
ALTER TABLE same.toast ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL, ALTER ts SET STORAGE EXTERNAL,
    ALTER is_ SET STORAGE EXTERNAL, ALTER us SET STORAGE EXTERNAL, ALTER h SET STORAGE EXTERNAL, ALTER x SET STORAGE EXTERNAL, ALTER bs SET STORAGE EXTERNAL,
    ALTER js SET STORAGE EXTERNAL, ALTER ds SET STORAGE EXTERNAL, ALTER ls SET STORAGE EXTERNAL, ALTER nn SET STORAGE EXTERNAL, ALTER nb SET STORAGE EXTERNAL,
    ALTER c SET STORAGE EXTERNAL, ALTER num SET STORAGE EXTERNAL, ALTER vs SET STORAGE EXTERNAL, ALTER fs SET STORAGE EXTERNAL, ALTER bits SET STORAGE EXTERNAL;
CREATE TABLE same.toast_full (LIKE same.toast INCLUDING ALL);
ALTER TABLE same.toast_full REPLICA IDENTITY FULL;
CREATE TABLE same.defaults (id int PRIMARY KEY, b bool DEFAULT true, i2 smallint DEFAULT -7, i4 int DEFAULT 42, i8 bigint DEFAULT 9000000000,
    f4 real DEFAULT 1.5, f8 float8 DEFAULT -2.5e10, n numeric(10,3) DEFAULT 1.5, nv numeric DEFAULT 1.25, t text DEFAULT 'it''s', vc varchar(20) DEFAULT 'vc', ch char(4) DEFAULT 'ab',
    d date DEFAULT '2020-02-29', tm time DEFAULT '12:34:56', tm3 time(3) DEFAULT '12:34:56.789', ts timestamp DEFAULT '2020-02-29 12:34:56.123456',
    ts3 timestamp(3) DEFAULT '2020-02-29 12:34:56', tz timestamptz DEFAULT '2020-02-29 12:34:56+02', ttz timetz DEFAULT '12:00:00+02', iv interval DEFAULT '1 day', u uuid DEFAULT '00000000-0000-0000-0000-000000000001',
    j json DEFAULT '{"a": 1}', jb jsonb DEFAULT '{}', x xml DEFAULT '<a/>', e same.level DEFAULT 'low', bi bit(3) DEFAULT B'101', b1 bit DEFAULT B'1', vb varbit(5) DEFAULT B'11',
    by bytea DEFAULT '\\x00ff', m money DEFAULT 1.5, o oid DEFAULT 5, inet inet DEFAULT '10.0.0.1', a int[] DEFAULT '{1,2}', c same.code, p same.price DEFAULT 3,
    fn timestamptz DEFAULT now(), sq int DEFAULT nextval('same.numbering'), un uuid DEFAULT gen_random_uuid(), cu date DEFAULT current_date, us text DEFAULT current_user,
    ex int DEFAULT 1 + 2, nul text DEFAULT NULL, ser serial, h contrib.hstore DEFAULT 'a=>1', ci contrib.citext DEFAULT 'Ci', lt contrib.ltree DEFAULT 'a.b', pt point DEFAULT '(1,2)',
    ge int GENERATED ALWAYS AS (id * 2) STORED, ident int GENERATED BY DEFAULT AS IDENTITY, lo text DEFAULT lower('ABC'), lts timestamp DEFAULT localtimestamp, neg numeric(5,2) DEFAULT -1);
CREATE TABLE same.required (id int PRIMARY KEY, b bool NOT NULL DEFAULT true, i2 smallint NOT NULL DEFAULT -7, i8 bigint NOT NULL DEFAULT 9000000000,
    n numeric(10,3) NOT NULL DEFAULT 1.5, nv numeric NOT NULL DEFAULT 1.25, t text NOT NULL DEFAULT 'it''s', d date NOT NULL DEFAULT '2020-02-29', ts timestamp NOT NULL DEFAULT '2020-02-29 12:34:56.123456',
    tz timestamptz NOT NULL DEFAULT now(), u uuid NOT NULL DEFAULT gen_random_uuid(), e same.level NOT NULL DEFAULT 'high', j jsonb NOT NULL DEFAULT '{}', by bytea NOT NULL DEFAULT '\\x', bi bit(9) NOT NULL DEFAULT B'000000001',
    m money NOT NULL, o oid NOT NULL, a text[] NOT NULL, r int4range NOT NULL, tt timetz NOT NULL, iv interval NOT NULL, f float8 NOT NULL, x xml NOT NULL, p point NOT NULL, h contrib.hstore NOT NULL, q same.price NOT NULL);
CREATE TABLE same.grows (id int PRIMARY KEY, v text);
CREATE TABLE "Odd Schema"."Ünï table" ("Id col" int PRIMARY KEY, "v.1" text, "1st" int, "sel""ect" text);
CREATE TABLE same.visit (day date, id int, v text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
CREATE TABLE same.visit_1 PARTITION OF same.visit FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE same.visit_2 PARTITION OF same.visit FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE same.many (id int PRIMARY KEY, v text);
CREATE TABLE same.left (id int PRIMARY KEY, w text);
CREATE TABLE same.right_ (id int PRIMARY KEY REFERENCES same.left, w text);
CREATE TABLE same.large (id int PRIMARY KEY, v text);
CREATE TABLE same.last (id int PRIMARY KEY);
"""

BIG = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)"  # 9600 bytes
BIG_ROW = f"""{{id}}, {BIG}, decode({BIG}, 'hex') || decode({BIG}, 'hex'), jsonb_build_object('a', {BIG}), ARRAY[{BIG}], (SELECT array_agg(i) FROM generate_series(1, 4000) i),
  (SELECT array_agg(md5(i::text)::uuid) FROM generate_series(1, 1000) i), contrib.hstore('a', {BIG}), xmlelement(name a, {BIG}), 1, ARRAY[decode({BIG}, 'hex') || decode({BIG}, 'hex')],
  to_json({BIG}), (SELECT array_agg('2000-01-01'::date + i) FROM generate_series(1, 4000) i), (SELECT array_agg(i::bigint) FROM generate_series(1, 4000) i), {BIG}, decode({BIG}, 'hex') || decode({BIG}, 'hex'),
  {BIG}::contrib.citext, repeat('1234567890', 900)::numeric, ARRAY[{BIG}]::varchar[], (SELECT array_agg(random()) FROM generate_series(1, 2000) i), repeat('10', 50000)::varbit"""


def _toast(table):
    return [f"INSERT INTO {table} VALUES ({BIG_ROW.format(id=1)})", f"INSERT INTO {table} VALUES ({BIG_ROW.format(id=2)})",
            f"UPDATE {table} SET n = 2", f"UPDATE {table} SET n = 3, t = 'short' WHERE id = 1", f"UPDATE {table} SET id = 3 WHERE id = 2",
            f"UPDATE {table} SET b = NULL, j = '[]' WHERE id = 3", f"DELETE FROM {table} WHERE id = 3"]


def _types():
    for name, (_, inserts, _kinds) in MADE.items():
        yield from inserts
        yield f"UPDATE same.{name} SET id = 1000 WHERE id = 0"
        yield f"UPDATE same.{name} SET c0 = NULL WHERE id = 1"
        yield f"DELETE FROM same.{name}"


def statements():
    """Each a transaction of its own, one list of them after the other."""
    return [
        # walferry alone does not begin with such tables: it says that their changes would fail, or be without keys
        "ALTER TABLE same.by_index REPLICA IDENTITY DEFAULT; ALTER TABLE same.no_key REPLICA IDENTITY DEFAULT; ALTER TABLE same.nothing REPLICA IDENTITY NOTHING",
        "INSERT INTO same.plain VALUES (1, 'one'), (2, NULL), (3, '')",
        "UPDATE same.plain SET v = 'eins' WHERE id = 1", "UPDATE same.plain SET v = v", "UPDATE same.plain SET id = 10 WHERE id = 1",
        "UPDATE same.plain SET id = id + 100", "DELETE FROM same.plain WHERE id = 102",
        "BEGIN; INSERT INTO same.plain VALUES (5, 'x'); UPDATE same.plain SET v = 'y' WHERE id = 5; DELETE FROM same.plain WHERE id = 5; INSERT INTO same.plain VALUES (5, 'z'); COMMIT",
        "INSERT INTO same.plain SELECT i, 'many ' || i FROM generate_series(1000, 1200) i",
        "INSERT INTO same.composite VALUES ('b', 1, 1.5, '2026-01-01 00:00+00'), ('ü', 2, NULL, NULL)", "UPDATE same.composite SET v = 2 WHERE a = 1",
        "UPDATE same.composite SET b = 'c' WHERE a = 1", "DELETE FROM same.composite",
        "INSERT INTO same.by_index VALUES ('x', 1, 2, 3), (NULL, 4, 5, NULL)",
        "INSERT INTO same.identity_index VALUES ('x', 1, 2), ('y', 3, 4)", "UPDATE same.identity_index SET v = 'z' WHERE b = 2",
       
        "INSERT INTO same.no_key VALUES (1, 'a'), (2, NULL)",
        "INSERT INTO same.no_key_full VALUES (1, 'a'), (1, 'a'), (2, NULL)", "UPDATE same.no_key_full SET v = 'b' WHERE a = 2", "DELETE FROM same.no_key_full WHERE a = 1",
        "INSERT INTO same.nothing VALUES (1, 'a')",
        "INSERT INTO same.whole VALUES (1, 'a', 1), (2, NULL, NULL)", "UPDATE same.whole SET v = 'b'", "UPDATE same.whole SET id = 3 WHERE id = 2", "DELETE FROM same.whole",
        "INSERT INTO same.typed_key VALUES ('00000000-0000-0000-0000-000000000001', '2020-01-01', '2020-01-01 00:00:00.5', 1.5, 'a,b', 'o')",
        "UPDATE same.typed_key SET n = 2", "UPDATE same.typed_key SET o = 'p'", "DELETE FROM same.typed_key",
        "INSERT INTO same.loose_key VALUES (1.0, 1), (2.50, 2)", "UPDATE same.loose_key SET n = 1.00 WHERE v = 1", "UPDATE same.loose_key SET n = 3 WHERE v = 2", "DELETE FROM same.loose_key",
        *_toast("same.toast"), *_toast("same.toast_full"),
        "INSERT INTO same.defaults (id) VALUES (1)", "INSERT INTO same.defaults (id, t, n, e, tz) VALUES (2, 'x', 2, 'high', '1999-01-01 00:00+00')",
        "UPDATE same.defaults SET b = NULL, i4 = NULL, t = NULL, n = NULL, d = NULL, ts = NULL, e = NULL, u = NULL, tz = NULL, j = NULL, fn = NULL, ex = NULL, by = NULL, a = NULL WHERE id = 2",
        "UPDATE same.defaults SET c = (SELECT c FROM same.defaults WHERE false) WHERE id = 1", "UPDATE same.defaults SET i2 = 1 WHERE id = 1", "DELETE FROM same.defaults",
        "INSERT INTO same.required (id, m, o, a, r, tt, iv, f, x, p, h, q) VALUES (1, 2, 3, '{x}', '[1,2)', '12:00+01', '1 day', 1, '<x/>', '(1,2)', '', 1), (2, -0.01, 0, '{}', 'empty', '00:00+00', '0', 'NaN', '', '(0,0)', 'a=>NULL', 0)",
        "UPDATE same.required SET t = 'u'", "DELETE FROM same.required",
        "INSERT INTO same.grows VALUES (1, 'a')", "ALTER TABLE same.grows ADD COLUMN w int", "INSERT INTO same.grows VALUES (2, 'b', 2)",
        "ALTER TABLE same.grows ADD COLUMN x text NOT NULL DEFAULT 'dflt'", "UPDATE same.grows SET w = 3", "ALTER TABLE same.grows DROP COLUMN v",
        "INSERT INTO same.grows VALUES (3, 3, 'c')", "ALTER TABLE same.grows ALTER w TYPE bigint", "INSERT INTO same.grows VALUES (4, 4, 'd')",
        "ALTER TABLE same.grows RENAME x TO y", "DELETE FROM same.grows",
        "ALTER TABLE same.grows ALTER y SET DEFAULT 'other', ALTER w SET NOT NULL, ALTER id SET DEFAULT 7", "INSERT INTO same.grows (w) VALUES (1)",
        "ALTER TABLE same.grows ALTER y DROP DEFAULT, ALTER w DROP NOT NULL, ADD CONSTRAINT positive CHECK (w > 0), ADD f float4 DEFAULT 0.5", "INSERT INTO same.grows VALUES (8, NULL, 'y')",
        "BEGIN; INSERT INTO same.grows VALUES (9, 9, 'a'); ALTER TABLE same.grows ADD z text DEFAULT 'z'; UPDATE same.grows SET w = 10 WHERE id = 9; ALTER TABLE same.grows DROP z; DELETE FROM same.grows WHERE id = 9; COMMIT",
        "ALTER TABLE same.grows RENAME w TO ww",
        "UPDATE same.grows SET y = 'last'",
        'INSERT INTO "Odd Schema"."Ünï table" VALUES (1, \'a\', 2, \'b\')', 'UPDATE "Odd Schema"."Ünï table" SET "1st" = NULL', 'DELETE FROM "Odd Schema"."Ünï table"',
        "INSERT INTO same.visit VALUES ('2026-01-05', 1, 'a'), ('2026-02-05', 1, 'b')", "UPDATE same.visit SET v = 'c'", "UPDATE same.visit SET day = '2026-02-10' WHERE day = '2026-01-05'", "DELETE FROM same.visit",
        "BEGIN; INSERT INTO same.many SELECT i, 'x' FROM generate_series(1, 300) i; SAVEPOINT a; INSERT INTO same.many VALUES (1001, 'gone'); ROLLBACK TO a; UPDATE same.many SET v = 'y' WHERE id % 3 = 0;"
        " SAVEPOINT b; DELETE FROM same.many WHERE id < 10; RELEASE b; SAVEPOINT c; TRUNCATE same.plain; ROLLBACK TO c; COMMIT",
        "BEGIN; INSERT INTO same.many VALUES (2000, 'never'); ROLLBACK",
        "BEGIN; INSERT INTO same.large SELECT i, repeat('x', 100) FROM generate_series(1, 3000) i; SAVEPOINT a; DELETE FROM same.large WHERE id > 2900; ROLLBACK TO a;"
        " SAVEPOINT b; UPDATE same.large SET v = 'b' WHERE id < 200; INSERT INTO same.large SELECT i, repeat('y', 100) FROM generate_series(4000, 5000) i; RELEASE b; UPDATE same.large SET id = 6000 WHERE id = 1; COMMIT",
        "BEGIN; INSERT INTO same.large SELECT i, repeat('x', 100) FROM generate_series(10000, 12000) i; ROLLBACK",
        "BEGIN; INSERT INTO same.many VALUES (3000, 'prepared'); PREPARE TRANSACTION 'one'", "INSERT INTO same.many VALUES (3001, 'between')", "COMMIT PREPARED 'one'",
        "BEGIN; INSERT INTO same.many VALUES (3002, 'never'); PREPARE TRANSACTION 'two'", "ROLLBACK PREPARED 'two'",
        # a new label alone need not make the server announce the table again
        "ALTER TYPE same.level ADD VALUE 'highest'; ALTER TABLE same.typed_key ALTER o SET DEFAULT 'o'", "INSERT INTO same.typed_key VALUES ('00000000-0000-0000-0000-000000000002', '2020-01-01', '2020-01-01 00:00:00.5', 1.5, 'highest', 'o')",
        "SELECT pg_logical_emit_message(true, 'app', 'one'), pg_logical_emit_message(false, 'app', 'two')",
        "BEGIN; INSERT INTO same.many VALUES (2001, 'a'); SELECT pg_logical_emit_message(true, 'app', ''); SELECT pg_logical_emit_message(false, 'ünï', '\\x00ff'::bytea); INSERT INTO same.many VALUES (2002, 'b'); COMMIT",
        "SELECT pg_logical_emit_message(true, '', 'no prefix')",
        "INSERT INTO same.left VALUES (1, 'a'); INSERT INTO same.right_ VALUES (1, 'a')", "TRUNCATE same.many",
        "BEGIN; INSERT INTO same.many VALUES (1, 'before'); TRUNCATE same.left, same.right_, same.many; INSERT INTO same.many VALUES (1, 'after'); COMMIT",
        "TRUNCATE same.no_key RESTART IDENTITY", "TRUNCATE same.visit", "TRUNCATE same.left CASCADE",
        *_types(),
    ]


def interleaved(source):
    """Transactions that begin in one order and end in another."""
    with closing(source.connect(autocommit=False)) as one, closing(source.connect(autocommit=False)) as two:
        for number in range(5):
            one.cursor().execute("INSERT INTO same.large VALUES (%s, 'one')", [20000 + number])
            two.cursor().execute("INSERT INTO same.large VALUES (%s, 'two')", [21000 + number])
        two.commit()
        one.cursor().execute("UPDATE same.large SET v = 'uno' WHERE v = 'two' OR v = 'one'")
        one.commit()
