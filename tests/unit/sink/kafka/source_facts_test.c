/* sink/kafka/source_facts and sink/kafka/source_types, asked of a private server. tests/e2e/test_source_facts.py runs
 * this program against every version. */
#include "fake_server.h"
#include "server.h"
#include "sink/kafka/source_facts.h"
#include "testing.h"

typedef struct Fixture {
    Server *server;
    Config cfg;
    Arena *arena;
    Pg *eye;
    SourceFacts *facts;
    Error e;
} Fixture;

static const char TYPES[] =
    "DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA s;"
    "CREATE TYPE s.mood AS ENUM ('sad', 'it''s', 'ok'); ALTER TYPE s.mood ADD VALUE 'best' BEFORE 'sad';"
    "CREATE DOMAIN s.price AS numeric(10,2) NOT NULL; CREATE DOMAIN s.net AS s.price CHECK (VALUE > 0);"
    "CREATE DOMAIN s.moods AS s.mood[]; CREATE DOMAIN s.feeling AS s.mood;"
    "CREATE TYPE s.pair AS (a int, b text); CREATE TYPE s.span AS RANGE (subtype = int8)";

static void run(Fixture *f, const char *sql) {
    Error e;
    if (!pg_run(f->eye, sql, &e))
        fail_test("%s: %s", sql, e.text);
}

static int fixture_make(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    f->server = *state;
    f->cfg.source.dsn = f->server->dsn;
    f->arena = arena_new();
    PgAddress to = {.dsn = f->server->dsn, .side = "source", .job = "eye"};
    f->eye = pg_open(&to, 5000, &f->e);
    *state = f;
    if (f->eye == NULL)
        return -1;
    run(f, TYPES);
    f->facts = source_facts_new(&f->cfg);
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    Server *server = f->server;
    source_facts_free(f->facts);
    pg_close(f->eye);
    arena_free(f->arena);
    free(f);
    *state = server;
    return 0;
}

/* ---- a version of s.<name>, as pgoutput announces it ---- */

static const char VERSION_SQL[] =
    "SELECT c.oid, c.relreplident, a.attname, a.atttypid, a.atttypmod, c.relreplident = 'f' OR EXISTS ("
    " SELECT FROM pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts "
    "- 1])"
    " AND CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate WHEN 'i' THEN i.indisreplident"
    " ELSE false END)"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " AND a.attgenerated = '' WHERE c.relnamespace = 's'::regnamespace AND c.relname = $1 ORDER BY a.attnum";

static Relation *version_of(Fixture *f, const char *name) {
    PGresult *rows = pg_query(f->eye, VERSION_SQL, 1, &name, &f->e);
    assert_non_null(rows);
    int count = PQntuples(rows);
    Relation *rel = arena_alloc(f->arena, sizeof *rel);
    Column *columns = arena_alloc(f->arena, ((size_t)count + 1) * sizeof *columns);
    for (int row = 0; row < count; row++)
        columns[row] = (Column){arena_text(f->arena, slice_text(pg_cell(rows, row, 2))),
                                (uint32_t)pg_cell_int(rows, row, 3), (int32_t)pg_cell_int(rows, row, 4),
                                pg_cell_bool(rows, row, 5)};
    *rel = (Relation){.schema = "s", .name = name, .column_count = (uint16_t)count, .columns = columns};
    if (count > 0) {
        rel->oid = (uint32_t)pg_cell_int(rows, 0, 0);
        rel->identity = pg_cell(rows, 0, 1)[0];
    }
    PQclear(rows);
    return rel;
}

/* ---- what is known of a table, in words ---- */

static void kind_write(Writer *out, const Kind *kind) {
    static const char *const types[] = {"bool",   "int16", "int32", "int64", "float32", "float64",
                                        "string", "bytes", "array", "map",   "struct"};
    if (kind == NULL) {
        writer_text(out, "-");
        return;
    }
    writer_text(out, types[kind->type]);
    if (kind->type == CONNECT_ARRAY) {
        writer_text(out, " of ");
        kind_write(out, kind->element);
    }
    if (kind->name != NULL)
        writer_format(out, " %s", strrchr(kind->name, '.') + 1);
    for (int at = 0; at < kind->parameter_count; at++)
        writer_format(out, " %s", kind->parameters[at].value);
    writer_text(out, kind->optional ? "?" : "");
    if (kind->fallback != NULL)
        writer_format(out, "=%s", kind->fallback);
}

/* "id int32; v string?; key id" */
static const char *in_words(Fixture *f, const EventTable *table) {
    Writer out = writer_new(1 << 20);
    for (uint16_t column = 0; column < table->column_count; column++) {
        writer_format(&out, "%s ", table->columns[column].name);
        kind_write(&out, table->columns[column].kind);
        writer_text(&out, "; ");
    }
    writer_text(&out, table->key_count == 0 ? "no key" : "key");
    for (uint16_t at = 0; at < table->key_count; at++)
        writer_format(&out, "%s%s", at == 0 ? " " : ",", table->columns[table->key[at]].name);
    const char *text = arena_text(f->arena, writer_slice(&out));
    writer_free(&out);
    return text;
}

static const EventTable *ask(Fixture *f, const Relation *rel) {
    const EventTable *table =
        source_facts_table(f->facts, f->arena, rel, "shop.s.t", (KindOptions){false}, &f->e);
    if (table == NULL)
        fail_test("%s: %s", rel->name, f->e.text);
    return table;
}

static void assert_words(Fixture *f, const Relation *rel, const char *what, const char *expected) {
    const char *found = in_words(f, ask(f, rel));
    if (strcmp(found, expected) != 0)
        fail_test("%s:\n  found    \"%s\"\n  expected \"%s\"", what, found, expected);
}

/* ---- tables as they are ---- */

typedef struct Case {
    const char *ddl, *expected;
} Case;

static void cases_check(Fixture *f, const Case *cases, size_t count) {
    for (size_t at = 0; at < count; at++) {
        run(f, "DROP TABLE IF EXISTS s.t CASCADE");
        run(f, cases[at].ddl);
        assert_words(f, version_of(f, "t"), cases[at].ddl, cases[at].expected);
    }
}
#define CHECK(f, cases) cases_check(f, cases, sizeof(cases) / sizeof *(cases))

static void a_key_is_the_primary_key_or_a_unique_index(void **state) {
    static const Case cases[] = {
        {"CREATE TABLE s.t (id int PRIMARY KEY, v text)", "id int32; v string?; key id"},
        {"CREATE TABLE s.t (a int, b int, c text, PRIMARY KEY (c, a))",
         "a int32; b int32?; c string; key c,a"},
        {"CREATE TABLE s.t (a int, b int, PRIMARY KEY (b) INCLUDE (a))", "a int32?; b int32; key b"},
        {"CREATE TABLE s.t (a int, u int NOT NULL UNIQUE, PRIMARY KEY (a) DEFERRABLE INITIALLY DEFERRED)",
         "a int32; u int32; key a"},
        {"CREATE TABLE s.t (a int NOT NULL, u int NOT NULL UNIQUE); ALTER TABLE s.t ADD PRIMARY KEY (a)",
         "a int32; u int32; key a"},
        {"CREATE TABLE s.t (a int NOT NULL, u int NOT NULL UNIQUE)", "a int32; u int32; key u"},
        {"CREATE TABLE s.t (a int NOT NULL, u int NOT NULL); CREATE UNIQUE INDEX z ON s.t (u);"
         "CREATE UNIQUE INDEX b ON s.t (a)",
         "a int32; u int32; key u"},
        {"CREATE TABLE s.t (a int NOT NULL, u int NOT NULL); CREATE UNIQUE INDEX ON s.t (u, a, u)",
         "a int32; u int32; key u,a"},
        {"CREATE TABLE s.t (a int NOT NULL, u int); CREATE UNIQUE INDEX ON s.t (a) INCLUDE (u)",
         "a int32; u int32?; key a"},
        {"CREATE TABLE s.t (u int UNIQUE)", "u int32?; no key"},
        {"CREATE TABLE s.t (u int NOT NULL, v int, UNIQUE (u, v))", "u int32; v int32?; no key"},
        {"CREATE TABLE s.t (u int NOT NULL); CREATE INDEX ON s.t (u)", "u int32; no key"},
        {"CREATE TABLE s.t (u int NOT NULL); CREATE UNIQUE INDEX ON s.t (u) WHERE u > 0", "u int32; no key"},
        {"CREATE TABLE s.t (u int NOT NULL); CREATE UNIQUE INDEX ON s.t ((u + 1))", "u int32; no key"},
        {"CREATE TABLE s.t (u int NOT NULL, v int NOT NULL); CREATE UNIQUE INDEX ON s.t (u, (v + 1))",
         "u int32; v int32; no key"},
        {"CREATE TABLE s.t (u int NOT NULL UNIQUE DEFERRABLE)", "u int32; no key"},
        {"CREATE TABLE s.t (u s.price UNIQUE)", "u bytes Decimal 2 10; no key"},
        {"CREATE TABLE s.t (v int)", "v int32?; no key"},
        {"CREATE TABLE s.t ()", "no key"},
    };
    CHECK(*state, cases);
}

static void an_index_that_is_not_valid_is_no_key(void **state) {
    Fixture *f = *state;
    Error e;
    run(f, "CREATE TABLE s.t (u int NOT NULL); INSERT INTO s.t VALUES (1), (1)");
    assert_false(pg_run(f->eye, "CREATE UNIQUE INDEX CONCURRENTLY ON s.t (u)", &e));
    assert_string_equal(e.sqlstate, "23505");
    assert_words(f, version_of(f, "t"), "not valid", "u int32; no key");
}

static void the_replica_identity_does_not_choose_the_key(void **state) {
    static const Case cases[] = {
        {"CREATE TABLE s.t (a int NOT NULL, v text); ALTER TABLE s.t REPLICA IDENTITY FULL",
         "a int32; v string?; no key"},
        {"CREATE TABLE s.t (a int, v text, PRIMARY KEY (a)); ALTER TABLE s.t REPLICA IDENTITY FULL",
         "a int32; v string?; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, u int NOT NULL); CREATE UNIQUE INDEX i ON s.t (u);"
         "ALTER TABLE s.t REPLICA IDENTITY NOTHING",
         "a int32; u int32; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY); ALTER TABLE s.t REPLICA IDENTITY NOTHING", "a int32; key a"},
    };
    CHECK(*state, cases);
}

/* A DELETE has nothing else. */
static void an_identity_by_index_is_the_key_unless_it_has_the_key(void **state) {
#define BY_INDEX "ALTER TABLE s.t REPLICA IDENTITY USING INDEX i"
    static const Case cases[] = {
        {"CREATE TABLE s.t (a int PRIMARY KEY, u int NOT NULL); CREATE UNIQUE INDEX i ON s.t (u);" BY_INDEX,
         "a int32; u int32; key u"},
        {"CREATE TABLE s.t (a int NOT NULL UNIQUE, u int NOT NULL); CREATE UNIQUE INDEX i ON s.t "
         "(u);" BY_INDEX,
         "a int32; u int32; key u"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, u int NOT NULL); CREATE UNIQUE INDEX i ON s.t (u, "
         "a);" BY_INDEX,
         "a int32; u int32; key a"},
        {"CREATE TABLE s.t (a int, u int NOT NULL, PRIMARY KEY (u, a)); CREATE UNIQUE INDEX i ON s.t "
         "(u);" BY_INDEX,
         "a int32; u int32; key u"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, u int NOT NULL); CREATE UNIQUE INDEX i ON s.t (u) INCLUDE "
         "(a);" BY_INDEX,
         "a int32; u int32; key u"},
    };
    CHECK(*state, cases);
}

static void types_are_known_with_all_that_they_are_made_of(void **state) {
    static const Case cases[] = {
        {"CREATE TABLE s.t (a s.net, b s.net[], c numeric(5,3), d numeric)",
         "a bytes Decimal 2 10?; b array of bytes Decimal 2 10??; c bytes Decimal 3 5?; "
         "d struct VariableScaleDecimal?; no key"},
        {"CREATE TABLE s.t (a s.mood PRIMARY KEY, b s.mood[], c s.moods, d s.feeling[])",
         "a string Enum best,sad,it's,ok; b array of string Enum best,sad,it's,ok??; "
         "c array of string Enum best,sad,it's,ok??; d array of string Enum best,sad,it's,ok??; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, b s.pair, c s.span, d s.pair[])",
         "a int32; b -; c string?; d -; key a"},
        {"CREATE TABLE s.t (a varchar(10)[], b bit(3), c timestamp(3)[][], d int2vector, e box[], f name, g "
         "pg_lsn[])",
         "a array of string??; b bytes Bits 3?; c array of int64 Timestamp??; d -; "
         "e array of struct Geometry??; f string?; g -; no key"},
        {"CREATE TABLE s.t (a s.price, b s.net, c s.price[])", /* NOT NULL is said of the outer domain */
         "a bytes Decimal 2 10; b bytes Decimal 2 10?; c array of bytes Decimal 2 10??; no key"},
        {"CREATE TABLE s.t (a pg_lsn PRIMARY KEY, b int NOT NULL UNIQUE)", "a -; b int32; no key"},
    };
    CHECK(*state, cases);
}

static void defaults_are_those_of_the_column(void **state) {
    static const Case cases[] = {
        {"CREATE TABLE s.t (a int DEFAULT 7, b text DEFAULT 'it''s' NOT NULL, c s.mood DEFAULT 'ok',"
         " d timestamptz DEFAULT now(), e bool DEFAULT true, f int DEFAULT NULL, g int)",
         "a int32?=7; b string=it's; c string Enum best,sad,it's,ok?=ok; "
         "d string ZonedTimestamp?=1970-01-01 00:00:00+00; e bool?=t; f int32?; g int32?; no key"},
        {"CREATE TABLE s.t (a serial, b int GENERATED ALWAYS AS IDENTITY, c int GENERATED BY DEFAULT AS "
         "IDENTITY)",
         "a int32=0; b int32; c int32; no key"},
        {"CREATE TABLE s.t (a int DEFAULT 1 PRIMARY KEY, b int GENERATED ALWAYS AS (a + 1) STORED, c int)",
         "a int32=1; c int32?; key a"},
    };
    CHECK(*state, cases);
}

/* Publications of 18 and newer may send them. */
static void generated_columns_have_no_default(void **state) {
    static const Column columns[] = {{"a", 23, -1, true}, {"b", 23, -1, true}};
    Fixture *f = *state;
    run(f, "CREATE TABLE s.t (a int, b int GENERATED ALWAYS AS (7) STORED, PRIMARY KEY (a, b))");
    Relation *rel = version_of(f, "t");
    rel->columns = columns;
    rel->column_count = 2;
    assert_words(f, rel, "generated", "a int32; b int32; key a,b");
}

static void a_key_over_a_generated_column_is_none(void **state) {
    static const Case cases[] = {
        {"CREATE TABLE s.t (a int, b int GENERATED ALWAYS AS (a + 1) STORED, PRIMARY KEY (a, b))",
         "a int32; no key"},
        {"CREATE TABLE s.t (a int, b int GENERATED ALWAYS AS (a + 1) STORED, c int NOT NULL UNIQUE,"
         " PRIMARY KEY (a, b))",
         "a int32; c int32; key c"},
    };
    CHECK(*state, cases);
}

static void partitions_have_keys_of_their_own(void **state) {
    Fixture *f = *state;
    run(f,
        "CREATE TABLE s.root (v text DEFAULT 'r', id int NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE s.leaf (id int NOT NULL, gone int, v text DEFAULT 'l');"
        "ALTER TABLE s.leaf DROP COLUMN gone;"
        "ALTER TABLE s.root ATTACH PARTITION s.leaf FOR VALUES FROM (0) TO (10)");
    assert_words(f, version_of(f, "leaf"), "leaf", "id int32; v string?=l; key id");
    assert_words(f, version_of(f, "root"), "root", "v string?=r; id int32; key id");
}

static void extensions_types_are_known_by_name(void **state) {
    Fixture *f = *state;
    char there[8];
    assert_true(pg_value(f->eye,
                         "SELECT count(*) FROM pg_available_extensions"
                         " WHERE name IN ('hstore', 'citext', 'ltree')",
                         0, NULL, there, sizeof there, &f->e));
    if (strcmp(there, "3") != 0) {
        assert_true(getenv("PGBIN") !=
                    NULL); /* servers that the tests bring may lack them, Debian's does not */
        return;
    }
    run(f,
        "CREATE EXTENSION hstore SCHEMA s; CREATE EXTENSION citext SCHEMA s; CREATE EXTENSION ltree SCHEMA s;"
        "CREATE TABLE s.t (a s.hstore, b s.citext DEFAULT 'x', c s.ltree[], d s.lquery)");
    assert_words(f, version_of(f, "t"), "extensions",
                 "a string Json?; b string?; c array of string Ltree??; d -; no key");
}

static void tables_may_have_1600_columns(void **state) {
    Fixture *f = *state;
    run(f, "DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE s.t (' || string_agg('c' || n || CASE n % 3 WHEN 0 THEN"
           " ' int NOT NULL' WHEN 1 THEN ' s.mood' ELSE ' s.net' END, ',') || ', PRIMARY KEY (c1599, c3))'"
           " FROM generate_series(1, 1600) n); END $$");
    const EventTable *table = ask(f, version_of(f, "t"));
    assert_int_equal(table->column_count, 1600);
    for (int at = 0; at < 1600; at++) {
        assert_non_null(table->columns[at].kind);
        assert_int_equal(table->columns[at].kind->optional, (at + 1) % 3 != 0);
    }
    assert_int_equal(table->key_count, 2);
    assert_int_equal(table->key[0], 1598);
    assert_int_equal(table->key[1], 2);
}

static void unknown_types_are_taken_as_bytes_on_request(void **state) {
    Fixture *f = *state;
    run(f, "CREATE TABLE s.t (a pg_lsn PRIMARY KEY, b s.pair)");
    const EventTable *table =
        source_facts_table(f->facts, f->arena, version_of(f, "t"), "shop.s.t", (KindOptions){true}, &f->e);
    assert_non_null(table);
    assert_string_equal(in_words(f, table), "a bytes; b bytes?; key a");
    assert_string_equal(table->topic, "shop.s.t");
    assert_string_equal(table->schema, "s");
    assert_string_equal(table->name, "t");
}

/* ---- catalogs that are newer than the version ---- */

static void catalogs_may_be_newer_than_the_version(void **state) {
    static const struct {
        const char *ddl, *change, *expected;
    } cases[] = {
        {"CREATE TABLE s.t (a int PRIMARY KEY, b int NOT NULL DEFAULT 3, c text)",
         "ALTER TABLE s.t DROP COLUMN b", "a int32; b int32?; c string?; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, c text)", "ALTER TABLE s.t ADD COLUMN b int NOT NULL",
         "a int32; c string?; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, c text NOT NULL)", "ALTER TABLE s.t RENAME COLUMN c TO d",
         "a int32; c string?; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, b int DEFAULT 5)",
         "ALTER TABLE s.t ALTER b TYPE text; ALTER TABLE s.t ALTER b SET DEFAULT 'x'",
         "a int32; b int32?; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, b numeric(5,1) DEFAULT 1.5)",
         "ALTER TABLE s.t ALTER b TYPE numeric(5,2)", "a int32; b bytes Decimal 1 5?; key a"},
        {"CREATE TABLE s.t (a int, b int, c int, PRIMARY KEY (b, a))", "ALTER TABLE s.t RENAME COLUMN b TO z",
         "a int32; b int32?; c int32?; key a,b"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, c int)", "ALTER TABLE s.t DROP COLUMN a",
         "a int32?; c int32?; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, c int)",
         "ALTER TABLE s.t DROP CONSTRAINT t_pkey; ALTER TABLE s.t ADD n int PRIMARY KEY",
         "a int32; c int32?; key a"},
        {"CREATE TABLE s.t (a int NOT NULL, c int); CREATE UNIQUE INDEX i ON s.t (a);"
         "ALTER TABLE s.t REPLICA IDENTITY USING INDEX i",
         "ALTER TABLE s.t RENAME a TO b", "a int32?; c int32?; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, c int); ALTER TABLE s.t REPLICA IDENTITY FULL",
         "ALTER TABLE s.t RENAME a TO b", "a int32?; c int32?; no key"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, c int); ALTER TABLE s.t REPLICA IDENTITY NOTHING",
         "ALTER TABLE s.t RENAME a TO b", "a int32?; c int32?; no key"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, c int NOT NULL DEFAULT 4)", "DROP TABLE s.t",
         "a int32?; c int32?; key a"},
        {"CREATE TABLE s.t (a int, c int); ALTER TABLE s.t REPLICA IDENTITY FULL", "DROP TABLE s.t",
         "a int32?; c int32?; no key"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, c int)",
         "DROP TABLE s.t; CREATE TABLE s.t (c int PRIMARY KEY, a int)", "a int32?; c int32?; key a"},
        {"CREATE TABLE s.t (a int PRIMARY KEY, m s.mood, n s.net)",
         "DROP TABLE s.t; DROP TYPE s.mood CASCADE; DROP DOMAIN s.price CASCADE",
         "a int32?; m string?; n string?; key a"},
    };
    Fixture *f = *state;
    for (size_t at = 0; at < sizeof cases / sizeof *cases; at++) {
        run(f, TYPES);
        run(f, cases[at].ddl);
        source_facts_rest(f->facts, INT64_MAX); /* what it knows of the last case's types goes */
        const Relation *rel = version_of(f, "t");
        run(f, cases[at].change);
        assert_words(f, rel, cases[at].change, cases[at].expected);
    }
}

/* Fields of Protobuf are told apart by them: none may move, and no two may be the same. */
static void numbers_are_those_of_the_catalogs(void **state) {
    static const struct {
        const char *ddl, *change;
        int16_t expected[4];
    } cases[] = {
        {"CREATE TABLE s.t (a int, b int, c int)", "SELECT 1", {1, 2, 3}},
        {"CREATE TABLE s.t (x int, a int, y int, b int); ALTER TABLE s.t DROP x, DROP y", "SELECT 1", {2, 4}},
        {"CREATE TABLE s.t (a int, b int GENERATED ALWAYS AS (a) STORED, c int)", "SELECT 1", {1, 3}},
        {"CREATE TABLE s.t (a int, b int, c int)", "ALTER TABLE s.t DROP a", {1, 2, 3}},
        {"CREATE TABLE s.t (a int, b int, c int)", "ALTER TABLE s.t DROP b, ADD d int", {1, 2, 3}},
        {"CREATE TABLE s.t (a int, b int, c int)",
         "ALTER TABLE s.t DROP c; ALTER TABLE s.t ADD d int",
         {1, 2, 3}},
        {"CREATE TABLE s.t (a int, b int, c int)", "ALTER TABLE s.t RENAME b TO d", {1, 2, 3}},
        {"CREATE TABLE s.t (a int, b int, c int)",
         "ALTER TABLE s.t DROP b; ALTER TABLE s.t ADD b int",
         {1, 4, 3}},
        {"CREATE TABLE s.t (a int, g int GENERATED ALWAYS AS (a) STORED, c int)",
         "ALTER TABLE s.t DROP c",
         {1, 3}},
        {"CREATE TABLE s.t (a int, b int, c int)", "DROP TABLE s.t", {1, 2, 3}},
    };
    Fixture *f = *state;
    for (size_t at = 0; at < sizeof cases / sizeof *cases; at++) {
        run(f, "DROP TABLE IF EXISTS s.t");
        run(f, cases[at].ddl);
        const Relation *rel = version_of(f, "t");
        run(f, cases[at].change);
        const EventTable *table = ask(f, rel);
        for (uint16_t column = 0; column < rel->column_count; column++)
            if (table->numbers[column] != cases[at].expected[column])
                fail_test("%s: column %s has number %d instead of %d", cases[at].change,
                          rel->columns[column].name, table->numbers[column], cases[at].expected[column]);
    }
}

static void a_constraint_that_is_not_valid_proves_nothing(void **state) {
    Fixture *f = *state;
    run(f, "CREATE TABLE s.t (a int, b int); CREATE UNIQUE INDEX ON s.t (a)");
    if (!pg_run(f->eye, "ALTER TABLE s.t ADD CONSTRAINT n NOT NULL a NOT VALID", &f->e)) {
        assert_true(f->eye->version < 180000);
        return;
    }
    assert_words(f, version_of(f, "t"), "not valid", "a int32?; b int32?; no key");
    run(f, "ALTER TABLE s.t VALIDATE CONSTRAINT n");
    assert_words(f, version_of(f, "t"), "valid", "a int32; b int32?; key a");
}

static void labels_are_asked_for_again(void **state) {
    Fixture *f = *state;
    run(f, "CREATE TABLE s.t (a s.mood, b s.feeling[])");
    const Relation *rel = version_of(f, "t");
    assert_words(f, rel, "before",
                 "a string Enum best,sad,it's,ok?; b array of string Enum best,sad,it's,ok??; no key");
    run(f, "ALTER TYPE s.mood ADD VALUE 'new' AFTER 'best'; ALTER TYPE s.mood RENAME VALUE 'ok' TO 'fine'");
    assert_words(
        f, rel, "after",
        "a string Enum best,new,sad,it's,fine?; b array of string Enum best,new,sad,it's,fine??; no key");
}

/* ---- the connection ---- */

static const char SESSIONS_SQL[] =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'walferry' AND pid <> pg_backend_pid()";

/* A session that was closed takes a moment to be gone. */
static void assert_sessions(Fixture *f, const char *expected) {
    char found[8] = "";
    for (int64_t deadline_ms = clock_ms() + 10000; clock_ms() < deadline_ms; clock_sleep_ms(10)) {
        assert_true(pg_value(f->eye, SESSIONS_SQL, 0, NULL, found, sizeof found, &f->e));
        if (strcmp(found, expected) == 0)
            return;
    }
    fail_test("%s sessions instead of %s", found, expected);
}

static void the_connection_is_given_back(void **state) {
    Fixture *f = *state;
    run(f, "CREATE TABLE s.t (a s.net PRIMARY KEY)");
    assert_sessions(f, "0");
    for (int round = 0; round < 2; round++) {
        assert_words(f, version_of(f, "t"), "asked", "a bytes Decimal 2 10; key a");
        assert_sessions(f, "1");
        source_facts_rest(f->facts, clock_ms() + 29000);
        assert_sessions(f, "1");
        source_facts_rest(f->facts, clock_ms() + 30000);
        assert_sessions(f, "0");
    }
}

static void a_lost_connection_is_opened_again(void **state) {
    Fixture *f = *state;
    run(f, "CREATE TABLE s.t (a int PRIMARY KEY)");
    const Relation *rel = version_of(f, "t");
    ask(f, rel);
    run(f, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'walferry'"
           " AND pid <> pg_backend_pid()");
    assert_sessions(f, "0");
    assert_null(source_facts_table(f->facts, f->arena, rel, "shop.s.t", (KindOptions){false}, &f->e));
    assert_int_equal(f->e.kind, ERR_RETRY);
    assert_true(f->e.connection);
    assert_non_null(strstr(f->e.text, "table \"s.t\""));
    assert_words(f, rel, "again", "a int32; key a");
}

static void a_locked_table_is_not_waited_for_long(void **state) {
    Fixture *f = *state;
    run(f, "CREATE TABLE s.t (a int PRIMARY KEY, b int DEFAULT 3)");
    const Relation *rel = version_of(f, "t");
    run(f, "BEGIN; LOCK TABLE s.t");
    assert_null(source_facts_table(f->facts, f->arena, rel, "shop.s.t", (KindOptions){false}, &f->e));
    assert_int_equal(f->e.kind, ERR_RETRY);
    assert_false(f->e.connection);
    assert_non_null(strstr(f->e.hint, "lock"));
    run(f, "ROLLBACK");
    assert_words(f, rel, "free again", "a int32; b int32?=3; key a");
}

static void an_account_without_rights_is_enough(void **state) {
    Fixture *f = *state;
    char dsn[160];
    run(f,
        "DO $$ BEGIN CREATE ROLE nobody LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "CREATE TABLE s.t (a s.mood PRIMARY KEY DEFAULT 'ok', b s.net); REVOKE ALL ON SCHEMA s FROM PUBLIC");
    snprintf(dsn, sizeof dsn, "host=%s user=nobody dbname=postgres", f->server->dir);
    f->cfg.source.dsn = dsn;
    assert_words(f, version_of(f, "t"), "nobody",
                 "a string Enum best,sad,it's,ok=ok; b bytes Decimal 2 10?; key a");
}

static void without_a_server_it_is_tried_again(void **state) {
    Fixture *f = *state;
    char dsn[] = "host=/tmp/walferry_no_such_place dbname=postgres";
    Relation rel = {.schema = "s", .name = "t"};
    f->cfg.source.dsn = dsn;
    assert_null(source_facts_table(f->facts, f->arena, &rel, "shop.s.t", (KindOptions){false}, &f->e));
    assert_int_equal(f->e.kind, ERR_RETRY);
    assert_true(f->e.connection);
}

/* Statements at the source, but for those with which a session begins. */
static int statements_of(const FakeServer *fake, const char *part) {
    int count = 0;
    for (int at = 0; at < fake->count; at++)
        count += strstr(fake->statements[at], part) != NULL;
    return count;
}

static void what_cannot_change_is_asked_once(void **state) {
    FakeRule rules[] = {{.contains = "pg_attrdef", .rows = "a|23|-1|1|f|t|7|1|f\nm|20000|-1|2|f|f|~|~|f"},
                        {.contains = "RECURSIVE", .rows = "23|int4|b|,|0|0|-1|~\n20000|price|d|,|0|23|-1|~"},
                        {.contains = NULL}};
    FakeServer fake = {.rules = rules};
    Fixture *f = *state;
    const Column columns[] = {{"a", 23, -1, true}, {"m", 20000, -1, false}};
    const Relation rel = {
        .oid = 77, .schema = "s", .name = "t", .identity = 'd', .column_count = 2, .columns = columns};
    fake_start(&fake);
    f->cfg.source.dsn = fake.dsn;
    for (int round = 0; round < 3; round++)
        assert_words(f, &rel, "fake", "a int32=7; m int32?; key a");
    source_facts_free(f->facts);
    f->facts = NULL;
    fake_stop(&fake);
    assert_int_equal(fake.logins, 1);
    assert_int_equal(statements_of(&fake, "pg_attrdef"), 3);
    assert_int_equal(statements_of(&fake, "RECURSIVE"), 1);
    fake_free(&fake);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

static int group_start(void **state) {
    static Server server;
    *state = &server;
    return server_start(&server) ? 0 : -1;
}

static int group_stop(void **state) {
    server_stop(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_key_is_the_primary_key_or_a_unique_index),
        TEST(an_index_that_is_not_valid_is_no_key),
        TEST(the_replica_identity_does_not_choose_the_key),
        TEST(an_identity_by_index_is_the_key_unless_it_has_the_key),
        TEST(types_are_known_with_all_that_they_are_made_of),
        TEST(defaults_are_those_of_the_column),
        TEST(generated_columns_have_no_default),
        TEST(a_key_over_a_generated_column_is_none),
        TEST(partitions_have_keys_of_their_own),
        TEST(extensions_types_are_known_by_name),
        TEST(tables_may_have_1600_columns),
        TEST(unknown_types_are_taken_as_bytes_on_request),
        TEST(catalogs_may_be_newer_than_the_version),
        TEST(numbers_are_those_of_the_catalogs),
        TEST(a_constraint_that_is_not_valid_proves_nothing),
        TEST(labels_are_asked_for_again),
        TEST(the_connection_is_given_back),
        TEST(a_lost_connection_is_opened_again),
        TEST(a_locked_table_is_not_waited_for_long),
        TEST(an_account_without_rights_is_enough),
        TEST(without_a_server_it_is_tried_again),
        TEST(what_cannot_change_is_asked_once),
    };
    return cmocka_run_group_tests(tests, group_start, group_stop);
}
