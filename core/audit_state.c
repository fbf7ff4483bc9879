#include "core/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SQL_POSITION[] = "SELECT since, lsn, broken FROM @.audit_position WHERE job = $1";
static const char SQL_SUMS[] =
    "SELECT schema_name, table_name, received, applied, left_out FROM @.audit WHERE job = $1";
static const char SQL_SINCE[] =
    "SELECT prev_lsn, lsn, audit FROM @.progress WHERE job = $1 AND prev_lsn >= $2 ORDER BY prev_lsn";

static const char SQL_STORE_POSITION[] =
    "INSERT INTO @.audit_position AS p (job, since, lsn, broken) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (job) DO UPDATE SET since = $2, lsn = $3, broken = $4";
static const char SQL_STORE_SUMS[] =
    "INSERT INTO @.audit AS a (job, schema_name, table_name, received, applied, left_out)"
    " VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (job, schema_name, table_name) DO UPDATE SET received = $4, applied = $5, left_out = $6";

enum { SUMS_TEXT_SIZE = (AUDIT_KINDS + 1) * 24 };

/* ---- reading ---- */

/* An array's text: {insert,update,delete,truncate,hash}, signed as bigint is. */
static AuditSums sums_parse(const char *text) {
    AuditSums sums = {0};
    for (int at = 0; at <= AUDIT_KINDS && *text != '\0'; at++) {
        char *behind;
        uint64_t number = (uint64_t)strtoll(text + 1, &behind, 10);
        *(at < AUDIT_KINDS ? &sums.counts[at] : &sums.hash) = number;
        text = behind;
    }
    return sums;
}

static bool load_position(Audit *a, Pg *pg, const Config *cfg, Lsn applied, Error *e) {
    PGresult *result = state_query(pg, cfg, SQL_POSITION, 1, (const char *const[]){cfg->name}, e);
    if (result == NULL)
        return false;
    bool there = PQntuples(result) == 1;
    a->since = there ? pg_cell_lsn(result, 0, 0) : applied;
    a->written = there ? pg_cell_lsn(result, 0, 1) : applied;
    snprintf(a->broken, sizeof a->broken, "%s", pg_cell(result, 0, 2));
    a->end = a->written;
    PQclear(result);
    return true;
}

static bool load_sums(Audit *a, Pg *pg, const Config *cfg, Error *e) {
    PGresult *result = state_query(pg, cfg, SQL_SUMS, 1, (const char *const[]){cfg->name}, e);
    for (int row = 0; result != NULL && row < PQntuples(result); row++) {
        AuditTable *table = audit_table(a, pg_cell(result, row, 0), pg_cell(result, row, 1));
        if (table == NULL)
            continue;
        table->sums.received = sums_parse(pg_cell(result, row, 2));
        table->sums.applied = sums_parse(pg_cell(result, row, 3));
        table->sums.left_out = sums_parse(pg_cell(result, row, 4));
    }
    PQclear(result);
    return result != NULL;
}

static void add_progress(Audit *a, const PGresult *result, int row) {
    size_t length = 0;
    unsigned char *kept = PQunescapeBytea((const unsigned char *)pg_cell(result, row, 2), &length);
    Slice slice = {(const char *)kept, kept == NULL ? 0 : length};
    audit_read(a, slice, pg_cell_lsn(result, row, 0), pg_cell_lsn(result, row, 1));
    PQfreemem(kept);
}

static bool load_since(Audit *a, Pg *pg, const Config *cfg, Error *e) {
    char from[LSN_TEXT_SIZE];
    const char *const params[] = {cfg->name, lsn_text(a->written, from)};
    PGresult *result = state_query(pg, cfg, SQL_SINCE, 2, params, e);
    for (int row = 0; result != NULL && row < PQntuples(result); row++)
        add_progress(a, result, row);
    PQclear(result);
    return result != NULL;
}

bool audit_load(Audit *a, Pg *pg, const Config *cfg, Lsn applied, Error *e) {
    if (!load_position(a, pg, cfg, applied, e) || !load_sums(a, pg, cfg, e) || !load_since(a, pg, cfg, e))
        return false;
    if (!lsn_equal(a->end, applied))
        audit_break(a, "the progress was moved by hand: it does not follow what was counted", applied);
    a->end = applied;
    audit_tell(a);
    return true;
}

/* ---- writing ---- */

static const char *sums_text(const AuditSums *sums, char out[SUMS_TEXT_SIZE]) {
    size_t used = 0;
    for (int at = 0; at <= AUDIT_KINDS; at++)
        used += (size_t)snprintf(out + used, SUMS_TEXT_SIZE - used, "%s%" PRId64, at == 0 ? "{" : ",",
                                 (int64_t)(at < AUDIT_KINDS ? sums->counts[at] : sums->hash));
    snprintf(out + used, SUMS_TEXT_SIZE - used, "}");
    return out;
}

static bool store_table(const AuditTable *table, const Config *cfg, const char *sql, AuditSend *send,
                        void *context, Error *e) {
    char received[SUMS_TEXT_SIZE], applied[SUMS_TEXT_SIZE], left_out[SUMS_TEXT_SIZE];
    const char *const params[] = {cfg->name,
                                  table->record->schema,
                                  table->record->name,
                                  sums_text(&table->sums.received, received),
                                  sums_text(&table->sums.applied, applied),
                                  sums_text(&table->sums.left_out, left_out)};
    return send(context, sql, 6, params, e);
}

bool audit_store(Audit *a, Pg *pg, const Config *cfg, AuditSend *send, void *context, Error *e) {
    char since[LSN_TEXT_SIZE], end[LSN_TEXT_SIZE];
    const char *const params[] = {cfg->name, lsn_text(a->since, since), lsn_text(a->end, end), a->broken};
    char *position = state_sql(pg, cfg, SQL_STORE_POSITION), *sums = state_sql(pg, cfg, SQL_STORE_SUMS);
    bool ok = send(context, position, 4, params, e);
    for (uint32_t at = 0; ok && at < a->count; at++) {
        AuditTable *table = &a->tables[at];
        ok = !table->unwritten || store_table(table, cfg, sums, send, context, e);
        table->unwritten = table->unwritten && !ok;
    }
    free(position);
    free(sums);
    a->written = a->end;
    return ok;
}
