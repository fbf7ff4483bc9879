#include "core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/definition.h"
#include "core/memory.h"

static const char SQL_EXISTS[] = "SELECT count(*) FROM pg_catalog.pg_class c"
                                 " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                                 " WHERE n.nspname = $1 AND c.relname = 'job' AND c.relkind = 'r'";

/* All that this version knows: one of an earlier version may lack some. */
static const char SQL_TABLES_THERE[] =
    "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname IN"
    " ('job', 'progress', 'table_state', 'object_state', 'existing', 'identity_state', 'prepared',"
    " 'dead_letter', 'audit', 'audit_position')"
    " AND (c.relname <> 'table_state' OR EXISTS (SELECT FROM pg_catalog.pg_attribute a"
    "      WHERE a.attrelid = c.oid AND a.attname = 'definition'))";

/* One transaction under a lock, because two jobs may come to a new destination at the same moment. */
static const char SQL_MAKE[] =
    "BEGIN;"
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('walferry state schema'));"
    "CREATE SCHEMA IF NOT EXISTS @;"
    "CREATE TABLE IF NOT EXISTS @.job (job text PRIMARY KEY, format int NOT NULL, slot text NOT NULL,"
    " system_id text NOT NULL, timeline bigint NOT NULL, birth text NOT NULL, bound pg_lsn NOT NULL,"
    " phase text NOT NULL, instance text NOT NULL, changed timestamptz NOT NULL DEFAULT pg_catalog.now());"
    "CREATE TABLE IF NOT EXISTS @.progress (job text NOT NULL, prev_lsn pg_lsn NOT NULL, lsn pg_lsn NOT NULL,"
    " committed timestamptz, beat bigint, PRIMARY KEY (job, prev_lsn));"
    "ALTER TABLE @.progress ADD COLUMN IF NOT EXISTS audit bytea;"
    "CREATE TABLE IF NOT EXISTS @.audit (job text NOT NULL, schema_name text NOT NULL,"
    " table_name text NOT NULL, received bigint[] NOT NULL, applied bigint[] NOT NULL,"
    " left_out bigint[] NOT NULL, PRIMARY KEY (job, schema_name, table_name));"
    "CREATE TABLE IF NOT EXISTS @.audit_position (job text PRIMARY KEY, since pg_lsn NOT NULL,"
    " lsn pg_lsn NOT NULL, broken text NOT NULL);"
    "CREATE TABLE IF NOT EXISTS @.table_state (job text NOT NULL, schema_name text NOT NULL,"
    " table_name text NOT NULL, loaded boolean NOT NULL, start_lsn pg_lsn, rows bigint, bytes bigint,"
    " PRIMARY KEY (job, schema_name, table_name));"
    "ALTER TABLE @.table_state ADD COLUMN IF NOT EXISTS source_oid bigint,"
    " ADD COLUMN IF NOT EXISTS target_oid bigint, ADD COLUMN IF NOT EXISTS definition text,"
    " ADD COLUMN IF NOT EXISTS target_columns text;"
    "CREATE TABLE IF NOT EXISTS @.object_state (job text NOT NULL, hash text NOT NULL, what text NOT NULL,"
    " PRIMARY KEY (job, hash));"
    "CREATE TABLE IF NOT EXISTS @.existing (job text NOT NULL, schema_name text NOT NULL,"
    " relation_name text NOT NULL, policy text NOT NULL, PRIMARY KEY (job, schema_name, relation_name));"
    "CREATE TABLE IF NOT EXISTS @.identity_state (job text NOT NULL, schema_name text NOT NULL,"
    " table_name text NOT NULL, setting text NOT NULL, PRIMARY KEY (job, schema_name, table_name));"
    "CREATE TABLE IF NOT EXISTS @.prepared (job text NOT NULL, xid bigint NOT NULL, lsn pg_lsn NOT NULL,"
    " here bigint NOT NULL, PRIMARY KEY (job, xid));"
    "CREATE TABLE IF NOT EXISTS @.dead_letter (job text NOT NULL, lsn pg_lsn NOT NULL, seq bigint NOT NULL,"
    " xid bigint NOT NULL, schema_name text NOT NULL, table_name text NOT NULL, operation text NOT NULL,"
    " old_key text, new_values text, sqlstate text, reason text NOT NULL,"
    " at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), PRIMARY KEY (job, lsn, seq));"
    "COMMIT";

static const char SQL_READ[] =
    "SELECT format, slot, system_id, timeline, birth, bound, phase, instance,"
    " (SELECT lsn FROM @.progress p WHERE p.job = j.job ORDER BY prev_lsn DESC LIMIT 1)"
    " FROM @.job j WHERE job = $1";

static const char SQL_INTEND[] =
    "INSERT INTO @.job AS j (job, format, slot, system_id, timeline, birth, bound, phase, instance)"
    " VALUES ($1, $2, $3, $4, $5, 'intent', '0/0', 'checking', $6)"
    " ON CONFLICT (job) DO UPDATE SET birth = 'intent', system_id = $4, timeline = $5, instance = $6,"
    " phase = 'checking', changed = pg_catalog.now() WHERE j.birth <> 'done'";

static const char SQL_CLEAR_PROGRESS[] = "DELETE FROM @.progress WHERE job = $1";
static const char SQL_CLEAR_TABLES[] = "DELETE FROM @.table_state WHERE job = $1";
static const char SQL_CLEAR_OBJECTS[] = "DELETE FROM @.object_state WHERE job = $1";
static const char SQL_CLEAR_EXISTING[] = "DELETE FROM @.existing WHERE job = $1";
static const char SQL_CLEAR_LETTERS[] = "DELETE FROM @.dead_letter WHERE job = $1";
static const char SQL_CLEAR_PREPARED[] = "DELETE FROM @.prepared WHERE job = $1";
static const char SQL_CLEAR_AUDIT[] = "DELETE FROM @.audit WHERE job = $1";
static const char SQL_CLEAR_AUDIT_POSITION[] = "DELETE FROM @.audit_position WHERE job = $1";
static const char SQL_FIRST_PROGRESS[] = "INSERT INTO @.progress (job, prev_lsn, lsn) VALUES ($1, '0/0', $2)";
static const char SQL_BORN[] = "UPDATE @.job SET birth = 'slot', bound = $2, phase = 'schema', changed = "
                               "pg_catalog.now() WHERE job = $1";
static const char SQL_PENDING[] =
    "INSERT INTO @.table_state (job, schema_name, table_name, loaded) SELECT $1, s, t, false"
    " FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) AS x (s, t)";
static const char SQL_SCHEMA_MADE[] =
    "UPDATE @.job SET birth = 'done', phase = 'full', changed = pg_catalog.now() WHERE job = $1";
static const char SQL_INSTANCE[] =
    "UPDATE @.job SET instance = $2, changed = pg_catalog.now() WHERE job = $1";
static const char SQL_PHASE[] = "UPDATE @.job SET phase = $2, changed = pg_catalog.now() WHERE job = $1";
static const char SQL_TIMELINE[] =
    "UPDATE @.job SET timeline = $2, bound = $3, changed = pg_catalog.now() WHERE job = $1";
static const char SQL_BOUND[] = "UPDATE @.job SET bound = greatest(bound, $2::pg_catalog.pg_lsn), changed = "
                                "pg_catalog.now() WHERE job = $1";

static const char SQL_FLUSH[] = "UPDATE @.job SET changed = pg_catalog.now() WHERE job = $1";

/* A record of an older version lacks the last four; not everybody who reads it may mend that. */
static const char SQL_TABLES[] =
    "SELECT schema_name, table_name, loaded, start_lsn, rows, bytes, x ->> 'source_oid', x ->> 'target_oid',"
    " x ->> 'definition', x ->> 'target_columns' FROM @.table_state t, pg_catalog.to_jsonb(t) x"
    " WHERE job = $1 ORDER BY schema_name, table_name";
static const char SQL_TABLE_LOADED[] =
    "UPDATE @.table_state SET loaded = true, start_lsn = $4, rows = $5, bytes = $6"
    " WHERE job = $1 AND schema_name = $2 AND table_name = $3 AND NOT loaded";
/* $1 and $2 name the destination's table. */
#define DEFINED                                                                                              \
    "WITH there AS (SELECT c.oid, (SELECT pg_catalog.json_object_agg(a.attname, a.attnum)"                   \
    "   FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)"    \
    "   AS columns FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"      \
    "   WHERE n.nspname = $1 AND c.relname = $2)"
static const char SQL_TABLE_DEFINED[] =
    DEFINED " UPDATE @.table_state SET source_oid = $6, definition = $7,"
            " target_oid = (SELECT oid FROM there), target_columns = (SELECT columns FROM there)"
            " WHERE job = $3 AND schema_name = $4 AND table_name = $5"
            " RETURNING coalesce(target_oid, 0), target_columns";
static const char SQL_TABLE_ASIDE[] =
    "UPDATE @.table_state SET loaded = false WHERE job = $1 AND schema_name = $2 AND table_name = $3";
static const char SQL_TABLE_GONE[] = "UPDATE @.table_state SET loaded = true, start_lsn = $4 WHERE job = $1 "
                                     "AND schema_name = $2 AND table_name = "
                                     "$3";
static const char SQL_TABLES_RESET[] = "UPDATE @.table_state SET loaded = false WHERE job = $1";
static const char SQL_OBJECT_MADE[] = "SELECT count(*) FROM @.object_state WHERE job = $1 AND hash = $2";
static const char SQL_OBJECT_NOTE[] = "INSERT INTO @.object_state (job, hash, what) VALUES ($1, $2, $3)";
static const char SQL_EXISTING_NOTE[] =
    "INSERT INTO @.existing (job, schema_name, relation_name, policy) SELECT $1, s, t, $4"
    " FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) AS x (s, t)";
static const char SQL_EXISTING[] = "SELECT schema_name, relation_name, policy FROM @.existing WHERE job = $1"
                                   " ORDER BY schema_name COLLATE \"C\", relation_name COLLATE \"C\"";
static const char SQL_OBJECT_FORGET[] =
    "DELETE FROM @.object_state WHERE job = $1 AND pg_catalog.starts_with(hash, $2)";
static const char SQL_OBJECTS[] =
    "SELECT hash, what FROM @.object_state WHERE job = $1 AND pg_catalog.starts_with(hash, $2) ORDER BY hash";
static const char SQL_IDENTITY_NOTE[] =
    "INSERT INTO @.identity_state (job, schema_name, table_name, setting) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT DO NOTHING";
static const char SQL_IDENTITIES[] =
    "SELECT schema_name, table_name, setting FROM @.identity_state WHERE job = $1 ORDER BY 1, 2";

static const char SQL_REMOVE[] = "DELETE FROM @.%s WHERE job = $1";
static const char SQL_JOBS_LEFT[] = "SELECT count(*) FROM @.job";
static const char SQL_DROP_TABLES[] =
    "DROP TABLE @.progress, @.table_state, @.object_state, @.existing, @.identity_state, @.prepared,"
    " @.dead_letter, @.audit, @.audit_position, @.job";
static const char SQL_SCHEMA_USED[] =
    "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1";
static const char SQL_DROP_SCHEMA[] = "DROP SCHEMA @";

enum { SQL_LIMIT = 64 * 1024 * 1024, NUMBER_SIZE = 24, NOTE_SIZE = 40, TABLES = 10 };

char *state_sql(Pg *pg, const Config *cfg, const char *sql) {
    Writer out = writer_new(SQL_LIMIT);
    for (; *sql != '\0'; sql++) {
        if (*sql == '@')
            pg_write_name(&out, pg, cfg->target.state_schema);
        else
            writer_bytes(&out, (Slice){sql, 1});
    }
    writer_string(&out);
    return out.at;
}

PGresult *state_query(Pg *pg, const Config *cfg, const char *sql, int count, const char *const *params,
                      Error *e) {
    char *expanded = state_sql(pg, cfg, sql);
    PGresult *result = pg_query(pg, expanded, count, params, e);
    free(expanded);
    return result;
}

/* As state_query, when only the number of touched rows matters; -1 on failure. */
static int64_t change(Pg *pg, const Config *cfg, const char *sql, int count, const char *const *params,
                      Error *e) {
    PGresult *result = state_query(pg, cfg, sql, count, params, e);
    if (result == NULL)
        return -1;
    int64_t touched = pg_affected(result);
    PQclear(result);
    return touched;
}

/* As change, for statements that must touch the job's row. */
static bool change_job(Pg *pg, const Config *cfg, const char *sql, int count, const char *const *params,
                       Error *e) {
    int64_t touched = change(pg, cfg, sql, count, params, e);
    if (touched == 1)
        return true;
    if (touched < 0)
        return false;
    fail(e, ERR_LOST, "the record of job \"%s\" is gone from the target", cfg->name);
    return fail_hint(e, "somebody removed it: run walferry cleanup and start again with a new load");
}

static bool count_of(Pg *pg, const Config *cfg, const char *sql, int count, const char *const *params,
                     int64_t *out, Error *e) {
    PGresult *result = state_query(pg, cfg, sql, count, params, e);
    if (result == NULL)
        return false;
    *out = pg_cell_int(result, 0, 0);
    PQclear(result);
    return true;
}

bool state_exists(Pg *pg, const Config *cfg, bool *exists, Error *e) {
    int64_t found;
    if (!count_of(pg, cfg, SQL_EXISTS, 1, (const char *const[]){cfg->target.state_schema}, &found, e))
        return false;
    *exists = found > 0;
    return true;
}

static bool tables_complete(Pg *pg, const Config *cfg, Error *e) {
    int64_t there;
    Error ignored;
    if (!count_of(pg, cfg, SQL_TABLES_THERE, 1, (const char *const[]){cfg->target.state_schema}, &there, e))
        return false;
    if (there == TABLES)
        return true;
    char *sql = state_sql(pg, cfg, SQL_MAKE);
    bool made = pg_run(pg, sql, e);
    free(sql);
    if (made)
        return true;
    pg_run(pg, "ROLLBACK", &ignored);
    return fail_context(e, "cannot make schema \"%s\"", cfg->target.state_schema);
}

bool state_open(Pg *pg, const Config *cfg, Error *e) {
    JobRecord record;
    if (!tables_complete(pg, cfg, e) || !state_read(pg, cfg, &record, e))
        return false;
    if (!record.exists || record.format <= STATE_FORMAT)
        return true;
    fail(e, ERR_CONFIG, "job \"%s\" was written by a newer walferry (format %d, this one knows %d)",
         cfg->name, record.format, STATE_FORMAT);
    return fail_hint(e, "run it with the newer version");
}

static Birth birth_parse(const char *text) {
    if (strcmp(text, "intent") == 0)
        return BIRTH_INTENT;
    return strcmp(text, "slot") == 0 ? BIRTH_SLOT : BIRTH_DONE;
}

bool state_read(Pg *pg, const Config *cfg, JobRecord *out, Error *e) {
    *out = (JobRecord){0};
    PGresult *result = state_query(pg, cfg, SQL_READ, 1, (const char *const[]){cfg->name}, e);
    if (result == NULL)
        return false;
    out->exists = PQntuples(result) == 1;
    if (out->exists) {
        out->format = (int)pg_cell_int(result, 0, 0);
        snprintf(out->slot, sizeof out->slot, "%s", pg_cell(result, 0, 1));
        out->system_id = strtoull(pg_cell(result, 0, 2), NULL, 10);
        out->timeline = (uint32_t)pg_cell_int(result, 0, 3);
        out->birth = birth_parse(pg_cell(result, 0, 4));
        out->applied = pg_cell_lsn(result, 0, 8);
        out->bound = lsn_max(pg_cell_lsn(result, 0, 5), out->applied);
        if (!phase_parse(pg_cell(result, 0, 6), &out->phase))
            out->phase = PHASE_CHECKING;
        snprintf(out->instance, sizeof out->instance, "%s", pg_cell(result, 0, 7));
    }
    PQclear(result);
    return true;
}

bool state_intend(Pg *pg, const Config *cfg, uint64_t system_id, uint32_t timeline, const char *instance,
                  Error *e) {
    char format[NUMBER_SIZE], system[NUMBER_SIZE], line[NUMBER_SIZE];
    snprintf(format, sizeof format, "%d", STATE_FORMAT);
    snprintf(system, sizeof system, "%" PRIu64, system_id);
    snprintf(line, sizeof line, "%" PRIu32, timeline);
    const char *const params[] = {cfg->name, format, cfg->slot, system, line, instance};
    int64_t touched = change(pg, cfg, SQL_INTEND, 6, params, e);
    if (touched == 1 || touched < 0)
        return touched == 1;
    return fail(e, ERR_RETRY, "another instance has brought job \"%s\" to life meanwhile", cfg->name);
}

/* One pending row for each table; `joining`: of those without a record. */
static bool pending_rows(Pg *pg, const Config *cfg, const Selection *selection, bool joining, Error *e) {
    Writer schemas = writer_new(SQL_LIMIT), names = writer_new(SQL_LIMIT);
    writer_u8(&schemas, '{');
    writer_u8(&names, '{');
    for (int table = 0; table < selection->count; table++) {
        if (joining && selection->tables[table].record_name != NULL)
            continue;
        pg_write_item(&schemas, selection->tables[table].schema);
        pg_write_item(&names, selection->tables[table].name);
    }
    writer_u8(&schemas, '}');
    writer_u8(&names, '}');
    const char *const params[] = {cfg->name, writer_string(&schemas), writer_string(&names)};
    bool ok = change(pg, cfg, SQL_PENDING, 3, params, e) >= 0;
    writer_free(&schemas);
    writer_free(&names);
    return ok;
}

bool state_tables_join(Pg *pg, const Config *cfg, const Selection *selection, Error *e) {
    return pending_rows(pg, cfg, selection, true, e);
}

static bool born_rows(Pg *pg, const Config *cfg, const char *point, const Selection *selection, Error *e) {
    const char *const job[] = {cfg->name};
    const char *const job_and_point[] = {cfg->name, point};
    if (change(pg, cfg, SQL_CLEAR_PROGRESS, 1, job, e) < 0 ||
        change(pg, cfg, SQL_CLEAR_TABLES, 1, job, e) < 0 ||
        change(pg, cfg, SQL_CLEAR_OBJECTS, 1, job, e) < 0 ||
        change(pg, cfg, SQL_CLEAR_EXISTING, 1, job, e) < 0 ||
        change(pg, cfg, SQL_CLEAR_PREPARED, 1, job, e) < 0 ||
        change(pg, cfg, SQL_CLEAR_LETTERS, 1, job, e) < 0 ||
        change(pg, cfg, SQL_CLEAR_AUDIT, 1, job, e) < 0 ||
        change(pg, cfg, SQL_CLEAR_AUDIT_POSITION, 1, job, e) < 0 ||
        change(pg, cfg, SQL_FIRST_PROGRESS, 2, job_and_point, e) < 0 ||
        !change_job(pg, cfg, SQL_BORN, 2, job_and_point, e))
        return false;
    return pending_rows(pg, cfg, selection, false, e);
}

bool state_born(Pg *pg, const Config *cfg, Lsn point, const Selection *selection, Error *e) {
    char text[LSN_TEXT_SIZE];
    Error ignored;
    if (!pg_run(pg, "BEGIN; SET LOCAL synchronous_commit = on", e))
        return false;
    if (born_rows(pg, cfg, lsn_text(point, text), selection, e) && pg_run(pg, "COMMIT", e))
        return true;
    pg_run(pg, "ROLLBACK", &ignored);
    return false;
}

bool state_schema_made(Pg *pg, const Config *cfg, Error *e) {
    return change_job(pg, cfg, SQL_SCHEMA_MADE, 1, (const char *const[]){cfg->name}, e);
}

bool state_instance(Pg *pg, const Config *cfg, const char *instance, Error *e) {
    return change_job(pg, cfg, SQL_INSTANCE, 2, (const char *const[]){cfg->name, instance}, e);
}

bool state_phase(Pg *pg, const Config *cfg, Phase phase, Error *e) {
    return change_job(pg, cfg, SQL_PHASE, 2, (const char *const[]){cfg->name, phase_name(phase)}, e);
}

/* One statement about the job's row that is on the disk when it returns. */
static bool change_durably(Pg *pg, const Config *cfg, const char *sql, int count, const char *const *params,
                           Error *e) {
    Error ignored;
    if (!pg_run(pg, "BEGIN; SET LOCAL synchronous_commit = on", e))
        return false;
    if (change_job(pg, cfg, sql, count, params, e) && pg_run(pg, "COMMIT", e))
        return true;
    pg_run(pg, "ROLLBACK", &ignored);
    return false;
}

bool state_timeline(Pg *pg, const Config *cfg, uint32_t timeline, Lsn bound, Error *e) {
    char line[NUMBER_SIZE], text[LSN_TEXT_SIZE];
    snprintf(line, sizeof line, "%" PRIu32, timeline);
    return change_durably(pg, cfg, SQL_TIMELINE, 3,
                          (const char *const[]){cfg->name, line, lsn_text(bound, text)}, e);
}

bool state_bound(Pg *pg, const Config *cfg, Lsn bound, Error *e) {
    char text[LSN_TEXT_SIZE];
    return change_durably(pg, cfg, SQL_BOUND, 2, (const char *const[]){cfg->name, lsn_text(bound, text)}, e);
}

bool state_flush(Pg *pg, const Config *cfg, Error *e) {
    return change_durably(pg, cfg, SQL_FLUSH, 1, (const char *const[]){cfg->name}, e);
}

/* ---- tables and objects ---- */

/* Of malloc; NULL for NULL. */
static char *cell_text(const PGresult *result, int row, int column) {
    return pg_cell_null(result, row, column) ? NULL : memory_text(pg_cell(result, row, column));
}

bool state_tables(Pg *pg, const Config *cfg, TableRecords *out, Error *e) {
    *out = (TableRecords){.all_loaded = true};
    PGresult *result = state_query(pg, cfg, SQL_TABLES, 1, (const char *const[]){cfg->name}, e);
    if (result == NULL)
        return false;
    out->count = PQntuples(result);
    out->rows = memory_array((size_t)out->count + 1, sizeof *out->rows);
    for (int row = 0; row < out->count; row++) {
        TableRecord *table = &out->rows[row];
        table->schema = memory_text(pg_cell(result, row, 0));
        table->name = memory_text(pg_cell(result, row, 1));
        table->loaded = pg_cell_bool(result, row, 2);
        table->start = pg_cell_lsn(result, row, 3);
        table->rows = pg_cell_int(result, row, 4);
        table->bytes = pg_cell_int(result, row, 5);
        table->source_oid = (uint32_t)pg_cell_int(result, row, 6);
        table->target_oid = (uint32_t)pg_cell_int(result, row, 7);
        table->definition = cell_text(result, row, 8);
        table->target_columns = cell_text(result, row, 9);
        table->was_loaded = !pg_cell_null(result, row, 3);
        if (table->loaded)
            out->highest_start = lsn_max(out->highest_start, table->start);
        else
            out->all_loaded = false;
    }
    PQclear(result);
    return true;
}

bool state_tables_again(Pg *pg, const Config *cfg, TableRecords *records, Error *e) {
    TableRecords now;
    if (!state_tables(pg, cfg, &now, e))
        return false;
    bool same = now.count == records->count;
    for (int row = 0; same && row < now.count; row++) {
        TableRecord *to = &records->rows[row], *from = &now.rows[row];
        same = strcmp(to->schema, from->schema) == 0 && strcmp(to->name, from->name) == 0;
        TableRecord before = *to;
        to->source_oid = from->source_oid;
        to->target_oid = from->target_oid;
        to->definition = from->definition;
        to->target_columns = from->target_columns;
        from->definition = before.definition;
        from->target_columns = before.target_columns;
    }
    state_tables_free(&now);
    return same || fail(e, ERR_RETRY, "the record of the job's tables was changed by somebody else");
}

void state_tables_free(TableRecords *records) {
    for (int row = 0; row < records->count; row++) {
        free(records->rows[row].schema);
        free(records->rows[row].name);
        free(records->rows[row].definition);
        free(records->rows[row].target_columns);
    }
    free(records->rows);
    *records = (TableRecords){0};
}

TableRecord *state_table_find(const TableRecords *records, uint32_t oid, const char *schema,
                              const char *name) {
    TableRecord *named = NULL;
    for (int row = 0; row < records->count; row++) {
        TableRecord *table = &records->rows[row];
        if (oid != 0 && table->source_oid == oid)
            return table;
        if ((oid == 0 || table->source_oid == 0) && strcmp(table->name, name) == 0 &&
            strcmp(table->schema, schema) == 0)
            named = table;
    }
    return named;
}

bool state_table_defined(Pg *pg, const Config *cfg, TableRecord *record, uint32_t oid, const char *definition,
                         const char *target_schema, const char *target_name, Error *e) {
    char oid_text[NUMBER_SIZE];
    snprintf(oid_text, sizeof oid_text, "%" PRIu32, oid);
    const char *const params[] = {target_schema, target_name, cfg->name, record->schema,
                                  record->name,  oid_text,    definition};
    PGresult *result = state_query(pg, cfg, SQL_TABLE_DEFINED, 7, params, e);
    if (result == NULL)
        return false;
    bool ok = PQntuples(result) == 1;
    if (ok) {
        free(record->definition);
        free(record->target_columns);
        record->source_oid = oid;
        record->target_oid = (uint32_t)pg_cell_int(result, 0, 0);
        record->definition = memory_text(definition);
        record->target_columns = cell_text(result, 0, 1);
    }
    PQclear(result);
    return ok || fail(e, ERR_LOST, "the record of table \"%s.%s\" is gone from the target", record->schema,
                      record->name);
}

static const char *record_schema(const Table *table) {
    return table->record_name == NULL ? table->schema : table->record_schema;
}

static const char *record_name(const Table *table) {
    return table->record_name == NULL ? table->name : table->record_name;
}

/* What the rows were of. */
static bool loaded_define(Pg *pg, const Config *cfg, const Table *table, Error *e) {
    if (table->oid == 0)
        return true;
    Arena *arena = arena_new();
    Writer text = writer_new(SQL_LIMIT);
    definition_write(&text, definition_of_table(arena, table));
    TableRecord record = {.schema = arena_text(arena, slice_text(record_schema(table))),
                          .name = arena_text(arena, slice_text(record_name(table)))};
    bool ok = text.len == 0 || state_table_defined(pg, cfg, &record, table->oid, writer_string(&text),
                                                   table->target_schema, table->target_name, e);
    free(record.definition);
    free(record.target_columns);
    writer_free(&text);
    arena_free(arena);
    return ok;
}

bool state_table_loaded(Pg *pg, const Config *cfg, const Table *table, Lsn start, int64_t rows, int64_t bytes,
                        Error *e) {
    char text[LSN_TEXT_SIZE], row_text[NUMBER_SIZE], byte_text[NUMBER_SIZE];
    snprintf(row_text, sizeof row_text, "%" PRId64, rows);
    snprintf(byte_text, sizeof byte_text, "%" PRId64, bytes);
    const char *const params[] = {
        cfg->name, record_schema(table), record_name(table), lsn_text(start, text), row_text, byte_text};
    int64_t touched = change(pg, cfg, SQL_TABLE_LOADED, 6, params, e);
    if (touched == 1 || touched < 0)
        return touched == 1 && loaded_define(pg, cfg, table, e);
    return fail(e, ERR_LOST,
                "table \"%s\" is not pending in the record of job \"%s\": somebody else loads it",
                table->full_name, cfg->name);
}

bool state_table_aside(Pg *pg, const Config *cfg, TableRecord *record, Error *e) {
    const char *const params[] = {cfg->name, record->schema, record->name};
    Error ignored;
    if (!pg_run(pg, "BEGIN; SET LOCAL synchronous_commit = on", e))
        return false;
    if (change(pg, cfg, SQL_TABLE_ASIDE, 3, params, e) >= 0 && pg_run(pg, "COMMIT", e)) {
        record->loaded = false;
        return true;
    }
    pg_run(pg, "ROLLBACK", &ignored);
    return false;
}

bool state_table_gone(Pg *pg, const Config *cfg, const TableRecord *record, Lsn upto, Error *e) {
    char text[LSN_TEXT_SIZE];
    const char *const params[] = {cfg->name, record->schema, record->name, lsn_text(upto, text)};
    return change(pg, cfg, SQL_TABLE_GONE, 4, params, e) >= 0;
}

bool state_tables_reset(Pg *pg, const Config *cfg, Error *e) {
    return change(pg, cfg, SQL_TABLES_RESET, 1, (const char *const[]){cfg->name}, e) >= 0;
}

bool state_object_made(Pg *pg, const Config *cfg, const char *hash, bool *made, Error *e) {
    int64_t found;
    if (!count_of(pg, cfg, SQL_OBJECT_MADE, 2, (const char *const[]){cfg->name, hash}, &found, e))
        return false;
    *made = found > 0;
    return true;
}

bool state_object_note(Pg *pg, const Config *cfg, const char *hash, const char *what, Error *e) {
    return change(pg, cfg, SQL_OBJECT_NOTE, 3, (const char *const[]){cfg->name, hash, what}, e) >= 0;
}

/* A row of object_state, as the job has one for everything that is done once. */
static void names_note_write(const Mapping *mapping, char out[NOTE_SIZE]) {
    char print[MAPPING_PRINT_SIZE];
    mapping_print(mapping, print);
    snprintf(out, NOTE_SIZE, "names %s", print);
}

bool state_names_note(Pg *pg, const Config *cfg, const Mapping *mapping, Error *e) {
    char note[NOTE_SIZE];
    names_note_write(mapping, note);
    return state_object_note(pg, cfg, note, "names and rows as the job began", e);
}

bool state_names_keep(Pg *pg, const Config *cfg, const Mapping *mapping, Error *e) {
    char note[NOTE_SIZE];
    bool same = false;
    names_note_write(mapping, note);
    if (!state_object_made(pg, cfg, note, &same, e) || same)
        return same;
    fail(e, ERR_CONFIG, "job \"%s\" was begun with other names, row filters or column lists", cfg->name);
    return fail_hint(e, "set objects.rename, objects.case and objects.tables back, or begin again: walferry "
                        "cleanup, then walferry run");
}

bool state_existing_note(Pg *pg, const Config *cfg, const StateName *names, int count, Error *e) {
    Writer schemas = writer_new(SQL_LIMIT), relations = writer_new(SQL_LIMIT);
    writer_u8(&schemas, '{');
    writer_u8(&relations, '{');
    for (int row = 0; row < count; row++) {
        pg_write_item(&schemas, names[row].schema);
        pg_write_item(&relations, names[row].name);
    }
    writer_u8(&schemas, '}');
    writer_u8(&relations, '}');
    const char *const params[] = {cfg->name, writer_string(&schemas), writer_string(&relations),
                                  existing_policy_name(cfg->existing)};
    bool ok = change(pg, cfg, SQL_EXISTING_NOTE, 4, params, e) >= 0;
    writer_free(&schemas);
    writer_free(&relations);
    return ok;
}

PGresult *state_existing(Pg *pg, const Config *cfg, Error *e) {
    return state_query(pg, cfg, SQL_EXISTING, 1, (const char *const[]){cfg->name}, e);
}

bool state_tables_kept(Pg *pg, const Config *cfg, TableRecords *tables, Error *e) {
    if (cfg->existing != EXISTING_KEEP)
        return true;
    PGresult *existing = state_existing(pg, cfg, e);
    if (existing == NULL)
        return false;
    for (int row = 0; row < tables->count; row++)
        tables->rows[row].kept =
            pg_row_of_name(existing, tables->rows[row].schema, tables->rows[row].name) >= 0;
    PQclear(existing);
    return true;
}

bool state_object_forget(Pg *pg, const Config *cfg, const char *prefix, int64_t *count, Error *e) {
    *count = change(pg, cfg, SQL_OBJECT_FORGET, 2, (const char *const[]){cfg->name, prefix}, e);
    return *count >= 0;
}

PGresult *state_objects(Pg *pg, const Config *cfg, const char *prefix, Error *e) {
    return state_query(pg, cfg, SQL_OBJECTS, 2, (const char *const[]){cfg->name, prefix}, e);
}

bool state_identity_note(Pg *pg, const Config *cfg, const Table *table, Error *e) {
    const char setting[] = {table->identity_setting, '\0'};
    const char *const params[] = {cfg->name, table->schema, table->name, setting};
    return change(pg, cfg, SQL_IDENTITY_NOTE, 4, params, e) >= 0;
}

bool state_identities(Pg *pg, const Config *cfg,
                      bool (*visit)(void *context, const char *schema, const char *name, char setting,
                                    Error *e),
                      void *context, Error *e) {
    PGresult *result = state_query(pg, cfg, SQL_IDENTITIES, 1, (const char *const[]){cfg->name}, e);
    bool ok = result != NULL;
    for (int row = 0; ok && row < PQntuples(result); row++)
        ok = visit(context, pg_cell(result, row, 0), pg_cell(result, row, 1), pg_cell(result, row, 2)[0], e);
    PQclear(result);
    return ok;
}

/* ---- the end ---- */

static bool remove_rows(Pg *pg, const Config *cfg, Error *e) {
    static const char *const tables[] = {"progress",       "table_state", "object_state", "existing",
                                         "identity_state", "prepared",    "dead_letter",  "audit",
                                         "audit_position", "job"};
    for (size_t table = 0; table < sizeof tables / sizeof *tables; table++) {
        char sql[80];
        snprintf(sql, sizeof sql, SQL_REMOVE, tables[table]);
        if (change(pg, cfg, sql, 1, (const char *const[]){cfg->name}, e) < 0)
            return false;
    }
    int64_t left;
    if (!count_of(pg, cfg, SQL_JOBS_LEFT, 0, NULL, &left, e))
        return false;
    if (left > 0)
        return true;
    const char *const schema[] = {cfg->target.state_schema};
    if (change(pg, cfg, SQL_DROP_TABLES, 0, NULL, e) < 0 ||
        !count_of(pg, cfg, SQL_SCHEMA_USED, 1, schema, &left, e))
        return false;
    return left > 0 || change(pg, cfg, SQL_DROP_SCHEMA, 0, NULL, e) >= 0;
}

bool state_remove(Pg *pg, const Config *cfg, Error *e) {
    bool exists;
    Error ignored;
    if (!state_exists(pg, cfg, &exists, e))
        return false;
    if (!exists)
        return true;
    if (!tables_complete(pg, cfg, e) || !pg_run(pg, "BEGIN; SET LOCAL lock_timeout = '5s'", e))
        return false;
    if (remove_rows(pg, cfg, e) && pg_run(pg, "COMMIT", e))
        return true;
    pg_run(pg, "ROLLBACK", &ignored);
    return false;
}
