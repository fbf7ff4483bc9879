#include "job/check_target.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/sqlstate.h"
#include "job/check_code.h"
#include "job/check_existing.h"
#include "job/check_text.h"
#include "job/units.h"

/* In the order of enum TargetFact. */
static const char FACTS_SQL[] =
    "SELECT current_user, current_database(), pg_postmaster_start_time(),"
    "  (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()),"
    "  pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE')";

static const char CLOSED_SCHEMAS_SQL[] =
    "SELECT n.nspname FROM pg_namespace n WHERE n.nspname NOT LIKE 'pg\\_%'"
    "   AND NOT (has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE'))";
static const char CLOSED_TABLES_SQL[] =
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%'"
    "   AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"
    "            AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')"
    "            AND has_table_privilege(c.oid, 'DELETE') AND has_table_privilege(c.oid, 'TRUNCATE'))"
    " ORDER BY 1, 2";

/* Whatever has a table's name stands in its way; only a table can take its rows. */
#define RELATIONS(used)                                                                                      \
    "SELECT n.nspname, c.relname, c.relkind, " used                                                          \
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"                                         \
    " WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2"
static const char RELATIONS_SQL[] = RELATIONS("false");
static const char USED_RELATIONS_SQL[] = RELATIONS("c.relkind = 'r' AND pg_relation_size(c.oid) > 0");

static const char EXTENSIONS_SQL[] = "SELECT extname, oid, tableoid FROM pg_extension ORDER BY 1";
static const char AVAILABLE_SQL[] =
    "SELECT name FROM pg_available_extensions UNION SELECT extname FROM pg_extension";
/* Those that are still to be made, and that take a superuser. */
#define SUPER_SQL(trusted)                                                                                   \
    "SELECT a.name FROM pg_available_extensions a JOIN pg_available_extension_versions v"                    \
    "  ON v.name = a.name AND v.version = a.default_version AND v.superuser" trusted                         \
    " WHERE a.installed_version IS NULL"                                                                     \
    "   AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper)"
static const char SUPER_13_SQL[] = SUPER_SQL(" AND NOT v.trusted");
static const char SUPER_12_SQL[] = SUPER_SQL("");

static const char MAY_REPLICA_SQL[] = "BEGIN; SET LOCAL session_replication_role = replica";
static const char FOREIGN_KEYS_SQL[] =
    "SELECT count(*), coalesce(sum(c.relpages::bigint), 0) * current_setting('block_size')::bigint"
    " FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE k.contype = 'f' AND k.conparentid = 0";

/* Tables are asked in groups whether they have a row; a foreign key's validation reads about so much in a second. */
enum { TABLES_AT_ONCE = 500, VALIDATED_BYTES_PER_MS = 100 * 1024, NAME_SIZE = 512 };

static const char *fact(const Check *c, enum TargetFact which) {
    return pg_cell(c->target_facts, 0, (int)which);
}

/* ---- the connection, and what the job's record there says ---- */

static bool record_read(Check *c, Pg *target, Error *e) {
    TableRecords records;
    if (!state_exists(target, c->cfg, &c->state_schema, e))
        return false;
    if (!c->state_schema)
        return true;
    if (!state_read(target, c->cfg, &c->record, e))
        return false;
    if (!c->record.exists || c->record.birth != BIRTH_DONE)
        return true;
    if (!state_tables(target, c->cfg, &records, e))
        return false;
    if (c->selection != NULL)
        state_tables_follow(&records, c->selection, NULL, NULL);
    state_tables_free(&records);
    c->resumed = true;
    c->loaded = c->record.phase > PHASE_FULL;
    return true;
}

bool check_target_connection(Check *c, Finding *out, Error *e) {
    char where[NAME_SIZE], version[16];
    out->left_out = c->cfg->target.dsn == NULL;
    if (out->left_out)
        return true;
    Pg *target = check_open(c, c->cfg->target.dsn, "target", e);
    if (target == NULL)
        return false;
    c->target_facts = pg_query(target, FACTS_SQL, 0, NULL, e);
    if (c->target_facts == NULL || !record_read(c, target, e) ||
        !pg_describe(c->cfg->target.dsn, where, sizeof where, e)) {
        pg_close(target);
        return false;
    }
    c->target = target;
    version_text(target->version, version);
    if (c->record.exists && c->record.format > STATE_FORMAT) {
        finding_fix(out, "run it with the newer version");
        return finding_fail(out, "job \"%s\" was written by a newer walferry", c->cfg->name);
    }
    return finding_pass(out, "%s: PostgreSQL %s, %s", where, version,
                        c->resumed         ? "the job goes on"
                        : c->record.exists ? "the job was begun and starts again"
                                           : "a new job");
}

bool check_target_version(Check *c, Finding *out, Error *e) {
    (void)e;
    char version[16], source[16];
    const char *why;
    version_text(c->target->version, version);
    CheckState state = source_version_judge(c->target->version - c->target->version % 10000 + 9999, &why);
    if (state == CHECK_FAILED) {
        finding_fix(out, "take a target of version 12 or newer");
        return finding_fail(out, "PostgreSQL %s, which is older than 12", version);
    }
    if (state == CHECK_ALERT) {
        finding_fix(out, "use a newer walferry, or try this job with a copy of the data first");
        return finding_alert(out, "PostgreSQL %s, %s", version, why);
    }
    if (c->source == NULL || c->source->version / 10000 <= c->target->version / 10000)
        return finding_pass(out, "PostgreSQL %s", version);
    finding_fix(out, "take a target of version %d or newer", c->source->version / 10000);
    return finding_alert(
        out,
        "PostgreSQL %s, older than the source (%s): it may refuse definitions that are written for "
        "the newer one",
        version, version_text(c->source->version, source));
}

/* Two names of one server show the same moment of its start. */
bool check_same_database(Check *c, Finding *out, Error *e) {
    (void)e;
    c->same_database = strcmp(pg_cell(c->source_facts, 0, SOURCE_STARTED), fact(c, TARGET_STARTED)) == 0 &&
                       strcmp(pg_cell(c->source_facts, 0, SOURCE_DATABASE), fact(c, TARGET_DATABASE)) == 0;
    if (!c->same_database)
        return finding_pass(out, "source and target are two databases");
    finding_fix(out, "name another database in target.dsn");
    return finding_fail(out, "source and target are the same database \"%s\"", fact(c, TARGET_DATABASE));
}

/* ---- both sides ---- */

static void encryption_look(const Pg *pg, Finding *out) {
    const char *host = PQhost(pg->conn), *address = PQhostaddr(pg->conn);
    bool local = host_is_local(address != NULL && address[0] != '\0' ? address : host);
    if (PQsslInUse(pg->conn)) {
        finding_pass(out, "%s: TLS", pg->side);
    } else if (PQgssEncInUse(pg->conn)) {
        finding_pass(out, "%s: GSSAPI", pg->side);
    } else if (local) {
        finding_pass(out, "%s: local", pg->side);
    } else {
        finding_alert(out, "%s: the connection to \"%s\" is not encrypted", pg->side, host);
        finding_fix(out, "add sslmode=verify-full (with sslrootcert) to %s.dsn, at least sslmode=require",
                    pg->side);
    }
}

bool check_encryption(Check *c, Finding *out, Error *e) {
    (void)e;
    out->left_out = c->source == NULL && c->target == NULL;
    if (c->source != NULL)
        encryption_look(c->source, out);
    if (c->target != NULL)
        encryption_look(c->target, out);
    return true;
}

bool check_database_encoding(Check *c, Finding *out, Error *e) {
    (void)e;
    const char *source = pg_cell(c->source_facts, 0, SOURCE_ENCODING), *target = fact(c, TARGET_ENCODING);
    bool same = strcmp(source, target) == 0;
    if (same && strcmp(source, "SQL_ASCII") != 0)
        return finding_pass(out, "%s on both sides", source);
    Writer name = writer_new(1 << 10);
    pg_write_name(&name, c->target, fact(c, TARGET_DATABASE));
    finding_fix(
        out,
        "CREATE DATABASE %s ENCODING '%s' TEMPLATE template0; -- on the target, in place of the one there",
        writer_string(&name), strcmp(source, "SQL_ASCII") == 0 ? "UTF8" : source);
    writer_free(&name);
    if (same)
        return finding_alert(out, "SQL_ASCII on both sides: texts that are not UTF-8 are refused");
    return finding_alert(out,
                         "%s on the source, %s on the target: characters that the target does not know, and "
                         "texts of SQL_ASCII that are not UTF-8, are refused",
                         source, target);
}

/* ---- rights ---- */

static void grant_fix(const Check *c, Finding *out, const char *right, const char *object) {
    Writer user = writer_new(1 << 10);
    pg_write_name(&user, c->target, fact(c, TARGET_USER));
    finding_fix(out, "GRANT %s%s TO %s;", right, object, writer_string(&user));
    writer_free(&user);
}

/* Schemas that are there but in which nothing may be made. */
static bool schemas_look(Check *c, Finding *out, Error *e) {
    PGresult *rows = pg_query(c->target, CLOSED_SCHEMAS_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    Names names = names_new();
    const char *last = "";
    for (int n = 0; n < c->selection->count; n++) {
        const char *schema = c->selection->tables[c->selection->by_target[n]].target_schema;
        bool closed = false;
        for (int row = 0; row < PQntuples(rows) && !closed && strcmp(schema, last) != 0; row++)
            closed = strcmp(pg_cell(rows, row, 0), schema) == 0;
        last = schema;
        if (!closed)
            continue;
        Writer name = writer_new(1 << 10);
        pg_write_name(&name, c->target, schema);
        if (!names_full(&names))
            grant_fix(c, out, "USAGE, CREATE ON SCHEMA ", writer_string(&name));
        writer_free(&name);
        names_add(&names, schema);
    }
    if (names.count > 0)
        finding_fail(out, "no right to make objects in %d schemas: %s", names.count, names_text(&names));
    names_free(&names);
    PQclear(rows);
    return true;
}

static bool tables_look(Check *c, Finding *out, Error *e) {
    PGresult *rows = pg_query(c->target, CLOSED_TABLES_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    Names names = names_new();
    for (int row = 0; row < PQntuples(rows); row++) {
        const Table *t = selection_find_target(c->selection, pg_cell(rows, row, 0), pg_cell(rows, row, 1));
        if (t == NULL)
            continue;
        Writer name = writer_new(1 << 10);
        pg_write_table(&name, c->target, t->target_schema, t->target_name);
        if (!names_full(&names))
            grant_fix(c, out, "SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ", writer_string(&name));
        writer_free(&name);
        names_add(&names, t->target_full_name);
    }
    if (names.count > 0)
        finding_fail(out, "no right to write into %d tables: %s", names.count, names_text(&names));
    names_free(&names);
    PQclear(rows);
    return true;
}

bool check_target_rights(Check *c, Finding *out, Error *e) {
    if (pg_cell_bool(c->target_facts, 0, TARGET_RECOVERY)) {
        finding_fix(out,
                    "name the primary in target.dsn, or several hosts with target_session_attrs=read-write");
        return finding_fail(out, "the target is a hot standby");
    }
    if (c->resumed)
        return finding_pass(out, "the job's schema and tables are there");
    bool makes_schema = c->cfg->phases.schema || !c->state_schema;
    if (makes_schema && !pg_cell_bool(c->target_facts, 0, TARGET_CREATE)) {
        Writer name = writer_new(1 << 10);
        pg_write_name(&name, c->target, fact(c, TARGET_DATABASE));
        grant_fix(c, out, "CREATE ON DATABASE ", writer_string(&name));
        writer_free(&name);
        finding_fail(out, "no right to make schemas in database \"%s\"", fact(c, TARGET_DATABASE));
    }
    bool writes_existing = !c->cfg->phases.schema || c->cfg->existing != EXISTING_FAIL;
    if (c->selection != NULL &&
        ((c->cfg->phases.schema && !schemas_look(c, out, e)) || (writes_existing && !tables_look(c, out, e))))
        return false;
    return out->state == CHECK_FAILED ||
           finding_pass(out, "user \"%s\" may make what the job needs", fact(c, TARGET_USER));
}

/* ---- tables that are there already ---- */

/* Of the tables with storage in use, those that really have a row: used space may be empty. */
typedef struct Filled {
    const Table **tables;
    int count;
} Filled;

static bool filled_ask(Check *c, Filled *filled, int from, Names *names, Error *e) {
    Writer sql = writer_new(1 << 24);
    int to = from + TABLES_AT_ONCE < filled->count ? from + TABLES_AT_ONCE : filled->count;
    for (int n = from; n < to; n++) {
        writer_format(&sql, "%sSELECT %d WHERE EXISTS (SELECT FROM ONLY ", n == from ? "" : " UNION ALL ", n);
        pg_write_table(&sql, c->target, filled->tables[n]->target_schema, filled->tables[n]->target_name);
        writer_text(&sql, ")");
    }
    PGresult *rows = pg_query(c->target, writer_string(&sql), 0, NULL, e);
    for (int row = 0; rows != NULL && row < PQntuples(rows); row++)
        names_add(names, filled->tables[pg_cell_int(rows, row, 0)]->target_full_name);
    PQclear(rows);
    writer_free(&sql);
    return rows != NULL;
}

/* The job brings its own tables: none may be there. */
static void none_look(Check *c, const PGresult *rows, Finding *out) {
    Names names = names_new();
    for (int row = 0; row < PQntuples(rows); row++) {
        const Table *t = selection_find_target(c->selection, pg_cell(rows, row, 0), pg_cell(rows, row, 1));
        if (t == NULL)
            continue;
        Writer name = writer_new(1 << 10);
        pg_write_table(&name, c->target, t->target_schema, t->target_name);
        if (!names_full(&names) && pg_cell(rows, row, 2)[0] == 'r')
            finding_fix(out, "DROP TABLE %s; -- on the target, if nobody needs it", writer_string(&name));
        writer_free(&name);
        names_add(&names, t->target_full_name);
    }
    if (names.count > 0) {
        finding_fix(
            out, "-- or name an empty database in target.dsn, or say in the job file what becomes of them: "
                 "existing: keep (their rows stay, the source's win later), existing: truncate (their "
                 "rows go, their definitions stay), existing: drop (they are made again); "
                 "existing: fail is the default");
        finding_fail(out, "%d of %d tables exist at the target already: %s", names.count, c->selection->count,
                     names_text(&names));
    } else {
        finding_pass(out, "none of %d tables exists at the target", c->selection->count);
    }
    names_free(&names);
}

static void missing_look(Check *c, const bool *there, Finding *out) {
    Names names = names_new();
    for (int n = 0; n < c->selection->count; n++)
        if (!there[n])
            names_add(&names, c->selection->tables[n].target_full_name);
    if (names.count > 0) {
        finding_fix(out, "make them at the target, or add the phase \"schema\"");
        finding_fail(out, "%d of %d tables do not exist at the target: %s", names.count, c->selection->count,
                     names_text(&names));
    }
    names_free(&names);
}

static bool empty_look(Check *c, Filled *filled, Finding *out, Error *e) {
    Names names = names_new();
    bool ok = true;
    for (int from = 0; ok && from < filled->count; from += TABLES_AT_ONCE)
        ok = filled_ask(c, filled, from, &names, e);
    if (ok && names.count > 0) {
        finding_fix(out, "TRUNCATE these tables on the target, if nobody needs their rows, or set "
                         "existing: truncate or existing: keep");
        finding_fail(out, "%d of %d tables at the target are not empty: %s", names.count, c->selection->count,
                     names_text(&names));
    }
    names_free(&names);
    return ok;
}

/* The job brings rows only: its tables have to be there, and empty if they are loaded. */
static bool prepared_look(Check *c, const PGresult *rows, Finding *out, Error *e) {
    size_t count = (size_t)c->selection->count;
    bool *there = memory_array(count + 1, sizeof *there);
    Filled filled = {.tables = memory_array(count + 1, sizeof *filled.tables)};
    for (int row = 0; row < PQntuples(rows); row++) {
        const Table *t = selection_find_target(c->selection, pg_cell(rows, row, 0), pg_cell(rows, row, 1));
        char kind = pg_cell(rows, row, 2)[0];
        if (t == NULL || (kind != 'r' && kind != 'p'))
            continue;
        there[t - c->selection->tables] = true;
        if (pg_cell_bool(rows, row, 3))
            filled.tables[filled.count++] = t;
    }
    missing_look(c, there, out);
    bool ok = true;
    if (c->cfg->existing != EXISTING_FAIL)
        ok = existing_look(c, out, e);
    else if (c->cfg->phases.full)
        ok = empty_look(c, &filled, out, e);
    free(there);
    free(filled.tables);
    if (ok && out->state == CHECK_PASSED)
        finding_pass(out, "%s%d tables are there", c->cfg->phases.full ? "empty, all " : "all ",
                     c->selection->count);
    return ok;
}

bool check_existing_tables(Check *c, Finding *out, Error *e) {
    out->left_out = c->same_database; /* what mends it would be wrong */
    if (out->left_out)
        return true;
    const Config *cfg = c->cfg;
    bool loads = !cfg->phases.schema && cfg->phases.full;
    PGresult *rows = pg_query(c->target, loads ? USED_RELATIONS_SQL : RELATIONS_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    bool ok = true;
    if (cfg->phases.schema && cfg->existing == EXISTING_FAIL)
        none_look(c, rows, out);
    else if (cfg->phases.schema)
        ok = existing_look(c, out, e);
    else
        ok = prepared_look(c, rows, out, e);
    PQclear(rows);
    return ok;
}

/* ---- extensions and roles ---- */

static bool is_needed(const Choice *choice, const PGresult *used, int row) {
    return !choice_leaves_out(choice, (uint32_t)pg_cell_int(used, row, 2),
                              (uint32_t)pg_cell_int(used, row, 1));
}

static bool column_has(const PGresult *rows, const char *text) {
    for (int row = 0; row < PQntuples(rows); row++)
        if (strcmp(pg_cell(rows, row, 0), text) == 0)
            return true;
    return false;
}

static void missing_extensions_look(Check *c, const Choice *choice, const PGresult *used,
                                    const PGresult *available, Finding *out) {
    Names names = names_new();
    for (int row = 0; row < PQntuples(used); row++)
        if (is_needed(choice, used, row) && !column_has(available, pg_cell(used, row, 0)))
            names_add(&names, pg_cell(used, row, 0));
    if (names.count > 0) {
        int major = c->target->version / 10000;
        finding_fix(
            out,
            "install them on the target's machine: postgresql-%d has PostgreSQL's own, most others are "
            "packages named postgresql-%d-… (apt-cache search postgresql-%d)",
            major, major, major);
        finding_fail(out, "%d extensions of the source are not available on the target: %s", names.count,
                     names_text(&names));
    }
    names_free(&names);
}

/* A managed service may allow more than the server says. */
static void super_extensions_look(Check *c, const Choice *choice, const PGresult *used, const PGresult *super,
                                  Finding *out) {
    Names names = names_new();
    for (int row = 0; row < PQntuples(used); row++) {
        if (!is_needed(choice, used, row) || !column_has(super, pg_cell(used, row, 0)))
            continue;
        Writer name = writer_new(1 << 10);
        pg_write_name(&name, c->target, pg_cell(used, row, 0));
        if (!names_full(&names))
            finding_fix(out, "CREATE EXTENSION %s; -- at the target, by a superuser", writer_string(&name));
        writer_free(&name);
        names_add(&names, pg_cell(used, row, 0));
    }
    if (names.count > 0)
        finding_alert(out, "%d extensions take a superuser at the target: %s", names.count,
                      names_text(&names));
    names_free(&names);
}

bool check_extensions(Check *c, Finding *out, Error *e) {
    const char *super_sql = c->target->version >= 130000 ? SUPER_13_SQL : SUPER_12_SQL;
    Choice *choice;
    if (!check_choice(c, &choice, e))
        return false;
    PGresult *used = pg_query(c->source, EXTENSIONS_SQL, 0, NULL, e);
    PGresult *available = used == NULL ? NULL : pg_query(c->target, AVAILABLE_SQL, 0, NULL, e);
    PGresult *super = available == NULL ? NULL : pg_query(c->target, super_sql, 0, NULL, e);
    bool ok = super != NULL;
    if (ok) {
        missing_extensions_look(c, choice, used, available, out);
        super_extensions_look(c, choice, used, super, out);
    }
    if (ok && out->state == CHECK_PASSED)
        finding_pass(out, "%d extensions, all available on the target", PQntuples(used));
    choice_free(choice);
    PQclear(used);
    PQclear(available);
    PQclear(super);
    return ok;
}

/* Trap C7: without the replica role the target's own cascades would delete what the stream deletes next. */
static bool consequences_tell(Check *c, Finding *out, Error *e) {
    int64_t count = 0, bytes = 0;
    PGresult *rows = c->source == NULL ? NULL : pg_query(c->source, FOREIGN_KEYS_SQL, 0, NULL, e);
    if (c->source != NULL && rows == NULL)
        return false;
    if (rows != NULL) {
        count = pg_cell_int(rows, 0, 0);
        bytes = pg_cell_int(rows, 0, 1);
    }
    PQclear(rows);
    if (c->target->version >= 150000)
        grant_fix(c, out, "SET ON PARAMETER session_replication_role", "");
    else
        finding_fix(out, "connect as a superuser: before version 15 nobody else may set it");
    return finding_alert(
        out,
        "user \"%s\" may not set session_replication_role: foreign keys, triggers and rules are made at the "
        "cutover, not after the load; to validate %lld foreign keys then reads %s, about %s",
        fact(c, TARGET_USER), (long long)count, UNIT_BYTES(bytes),
        UNIT_CLOCK(bytes / VALIDATED_BYTES_PER_MS));
}

bool check_replica_role(Check *c, Finding *out, Error *e) {
    Error ignored;
    bool may = pg_run(c->target, MAY_REPLICA_SQL, e);
    pg_run(c->target, "ROLLBACK", &ignored);
    if (may)
        return finding_pass(out, "session_replication_role can be set: triggers and foreign keys keep still");
    if (!sqlstate_is(e, SQLSTATE_INSUFFICIENT_PRIVILEGE))
        return false;
    return consequences_tell(c, out, e);
}
