#include "decoder/heartbeat.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/sqlstate.h"

/* To publish a table takes its owner's rights. */
static const char TABLE_SQL[] =
    "SELECT c.oid, pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(n.oid, 'USAGE')"
    "  AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')"
    "  AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'r'";
static const char COLUMNS_SQL[] = " (job text PRIMARY KEY, beat bigint, at timestamptz)";
static const char FIRST_SQL[] =
    " (job, beat, at) VALUES ($1, 0, clock_timestamp()) ON CONFLICT (job) DO NOTHING";
/* A row that somebody removed comes back. */
static const char BEAT_SQL[] = " AS t (job, beat, at) VALUES ($1, $2, clock_timestamp())"
                               " ON CONFLICT (job) DO UPDATE SET beat = excluded.beat, at = excluded.at";
static const char OURS_SQL[] = " WHERE job = $1";

/* Transactional: others do not let an idle source drop its WAL (L16). */
static const char MESSAGE_SQL[] =
    "SELECT pg_logical_emit_message(true, $1,"
    " $2 || ' ' || floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";
static const char POSITION_SQL[] = "SELECT pg_current_wal_insert_lsn()";
/* Behind other jobs' beats, which are short; never behind a long transaction. */
static const char DROP_BEGIN_SQL[] = "BEGIN; SET LOCAL lock_timeout = '2s'";

enum { SQL_LIMIT_BYTES = 1 << 12 };

/* "<before><schema>.<table><behind>" */
static Writer statement(Pg *source, const Config *cfg, const char *before, const char *behind) {
    Writer sql = writer_new(SQL_LIMIT_BYTES);
    writer_text(&sql, before);
    pg_write_table(&sql, source, cfg->source.heartbeat_schema, cfg->source.heartbeat_table);
    writer_text(&sql, behind);
    assert(!sql.full);
    return sql;
}

static bool statement_query(Pg *source, Writer sql, int count, const char *const *params, PGresult **out,
                            Error *e) {
    PGresult *rows = pg_query(source, writer_string(&sql), count, params, e);
    writer_free(&sql);
    if (out != NULL)
        *out = rows;
    else
        PQclear(rows);
    return rows != NULL;
}

static bool statement_run(Pg *source, Writer sql, Error *e) {
    bool good = pg_run(source, writer_string(&sql), e);
    writer_free(&sql);
    return good;
}

/* exists may be true of a table that is not ours: *oid is 0 then. */
static bool table_look(Pg *source, const Config *cfg, bool *exists, uint32_t *oid, Error *e) {
    const char *const params[] = {cfg->source.heartbeat_schema, cfg->source.heartbeat_table};
    PGresult *rows = pg_query(source, TABLE_SQL, 2, params, e);
    if (rows == NULL)
        return false;
    *exists = PQntuples(rows) == 1;
    *oid = *exists && pg_cell_bool(rows, 0, 1) ? (uint32_t)pg_cell_int(rows, 0, 0) : 0;
    PQclear(rows);
    return true;
}

bool heartbeat_table(Pg *source, const Config *cfg, uint32_t *oid, Error *e) {
    bool exists;
    return table_look(source, cfg, &exists, oid, e);
}

static bool message_possible(const Pg *source) {
    return source->version >= 140000;
}

/* The table's form was refused for want of a right: the message's, where the server knows it. */
static bool message_instead(Pg *source, const Config *cfg, HeartbeatForm *form, Error *e) {
    *form = HEARTBEAT_MESSAGE;
    if (message_possible(source))
        return true;
    fail(e, ERR_CONFIG, "%s: no right to make or use the heartbeat table \"%s.%s\"", source->side,
         cfg->source.heartbeat_schema, cfg->source.heartbeat_table);
    return fail_hint(e, "GRANT CREATE ON SCHEMA %s to the user of source.dsn, or set source.heartbeat: 0",
                     cfg->source.heartbeat_schema);
}

/* Another job was faster by a moment. IF NOT EXISTS does not hold between two sessions: a table has a row
 * in pg_class and one in pg_type, each looked for first and then kept by a unique index. */
static bool made_meanwhile(const Error *e) {
    static const char *const refusals[] = {SQLSTATE_DUPLICATE_TABLE, SQLSTATE_DUPLICATE_OBJECT,
                                           SQLSTATE_UNIQUE_VIOLATION};
    for (size_t n = 0; n < sizeof refusals / sizeof *refusals; n++) {
        if (sqlstate_is(e, refusals[n]))
            return true;
    }
    return false;
}

bool heartbeat_make(Pg *source, const Config *cfg, HeartbeatForm *form, Error *e) {
    *form = HEARTBEAT_OFF;
    if (cfg->source.heartbeat_ms == 0)
        return true;
    bool exists;
    uint32_t oid;
    if (!table_look(source, cfg, &exists, &oid, e))
        return false;
    if (exists && oid == 0)
        return message_instead(source, cfg, form, e);
    if (!exists &&
        !statement_run(source, statement(source, cfg, "CREATE TABLE IF NOT EXISTS ", COLUMNS_SQL), e) &&
        !made_meanwhile(e))
        return sqlstate_is(e, SQLSTATE_INSUFFICIENT_PRIVILEGE) ? message_instead(source, cfg, form, e)
                                                               : false;
    const char *job = cfg->name;
    if (!statement_query(source, statement(source, cfg, "INSERT INTO ", FIRST_SQL), 1, &job, NULL, e))
        return sqlstate_is(e, SQLSTATE_INSUFFICIENT_PRIVILEGE) ? message_instead(source, cfg, form, e)
                                                               : false;
    *form = HEARTBEAT_TABLE;
    return true;
}

bool heartbeat_find(Pg *source, const Config *cfg, HeartbeatForm *form, Error *e) {
    *form = HEARTBEAT_OFF;
    uint32_t oid;
    if (cfg->source.heartbeat_ms == 0)
        return true;
    if (!heartbeat_table(source, cfg, &oid, e))
        return false;
    if (oid != 0)
        *form = HEARTBEAT_TABLE;
    else if (message_possible(source))
        *form = HEARTBEAT_MESSAGE;
    return true;
}

bool heartbeat_beat(Pg *source, const Config *cfg, HeartbeatForm form, int64_t number, Lsn *after, Error *e) {
    char beat[24], prefix[64 + JOB_NAME_MAX], position[32];
    snprintf(beat, sizeof beat, "%lld", (long long)number);
    snprintf(prefix, sizeof prefix, "walferry.beat.%s", cfg->name);
    assert(form != HEARTBEAT_OFF);
    PGresult *done = NULL;
    bool good =
        form == HEARTBEAT_TABLE
            ? statement_query(source, statement(source, cfg, "INSERT INTO ", BEAT_SQL), 2,
                              (const char *const[]){cfg->name, beat}, &done, e)
            : (done = pg_query(source, MESSAGE_SQL, 2, (const char *const[]){prefix, beat}, e)) != NULL;
    PQclear(done);
    if (!good || !pg_value(source, POSITION_SQL, 0, NULL, position, sizeof position, e))
        return false;
    return lsn_parse(position, after) ||
           fail(e, ERR_PROTOCOL, "%s: \"%s\" is no position", source->side, position);
}

/* In a transaction: the table goes unless some job's row is left. */
static bool table_drop(Pg *source, const Config *cfg, Error *e) {
    PGresult *rows = NULL;
    if (!statement_run(source, statement(source, cfg, "LOCK TABLE ", " IN ACCESS EXCLUSIVE MODE"), e) ||
        !statement_query(source, statement(source, cfg, "SELECT FROM ", " LIMIT 1"), 0, NULL, &rows, e))
        return false;
    bool empty = PQntuples(rows) == 0;
    PQclear(rows);
    return !empty || statement_run(source, statement(source, cfg, "DROP TABLE ", ""), e);
}

bool heartbeat_drop(Pg *source, const Config *cfg, Error *e) {
    uint32_t oid;
    const char *job = cfg->name;
    if (!heartbeat_table(source, cfg, &oid, e))
        return false;
    /* Not there, or somebody else's: then our beats were messages. */
    if (oid == 0)
        return true;
    if (!statement_query(source, statement(source, cfg, "DELETE FROM ", OURS_SQL), 1, &job, NULL, e))
        return sqlstate_is(e, SQLSTATE_UNDEFINED_TABLE);
    bool good =
        pg_run(source, DROP_BEGIN_SQL, e) && table_drop(source, cfg, e) && pg_run(source, "COMMIT", e);
    if (good)
        return true;
    Error ignored;
    pg_run(source, "ROLLBACK", &ignored);
    return sqlstate_is(e, SQLSTATE_UNDEFINED_TABLE);
}
