#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "snapshot/copy_intern.h"
#include "snapshot/relay.h"
#include "snapshot/session.h"

/* Generated columns cannot be named in COPY. Without a list COPY takes all the others: none is left, or none
 * was. */
static void columns_write(Copying *c) {
    bool binary = true;
    int named = 0;
    for (int at = 0; at < c->table->column_count; at++) {
        const TableColumn *column = &c->table->columns[at];
        if (column->generated || !column->taken)
            continue;
        const char *comma = named++ == 0 ? "" : ", ";
        writer_text(&c->columns, comma);
        pg_write_name(&c->columns, c->source, column->name);
        writer_text(&c->target_columns, comma);
        pg_write_name(&c->target_columns, c->target, column->target_name);
        binary = binary && column->binary_safe;
    }
    c->binary = binary && named > 0;
}

static bool copy_start(Pg *pg, const char *sql, ExecStatusType wanted, Error *e) {
    PGresult *result = PQexec(pg->conn, sql);
    bool ok = PQresultStatus(result) == wanted;
    if (!ok)
        pg_failed(pg, result, e);
    PQclear(result);
    return ok;
}

/* COPY TO takes no condition: what needs one comes by a query. A filter may end in a comment. */
static void copy_out_write(Copying *c, const char *format, Writer *out) {
    const char *columns = writer_string(&c->columns), *name = writer_string(&c->name);
    const CopyRange *range = c->job->range;
    if (range == NULL && c->table->where == NULL) {
        writer_format(out, "COPY %s", name);
        if (columns[0] != '\0')
            writer_format(out, " (%s)", columns);
    } else {
        writer_format(out, "COPY (SELECT %s FROM ONLY %s WHERE ", columns, name);
        if (c->table->where != NULL)
            writer_format(out, "(%s\n)", c->table->where);
        if (range != NULL)
            writer_format(out, "%s%s", c->table->where != NULL ? " AND " : "", range->condition);
        writer_text(out, ")");
    }
    writer_format(out, " TO STDOUT (FORMAT %s)", format);
}

/* FREEZE is allowed where the same transaction truncated the table (trap B4). */
static void copy_in_write(Copying *c, const char *format, Writer *in) {
    const char *columns = writer_string(&c->target_columns);
    writer_format(in, "COPY %s",
                  c->job->existing == EXISTING_KEEP ? COPY_KEPT_ROWS : writer_string(&c->target_name));
    if (columns[0] != '\0')
        writer_format(in, " (%s)", columns);
    writer_format(in, " FROM STDIN (FORMAT %s%s)", format, c->frozen ? ", FREEZE" : "");
}

static bool copies_start(Copying *c, Error *e) {
    const char *format = c->binary ? "binary" : "text";
    Writer out = writer_new(COPY_SQL_MAX_BYTES), in = writer_new(COPY_SQL_MAX_BYTES);
    copy_out_write(c, format, &out);
    copy_in_write(c, format, &in);
    assert(!out.full && !in.full);
    bool ok = copy_start(c->source, writer_string(&out), PGRES_COPY_OUT, e) &&
              copy_start(c->target, writer_string(&in), PGRES_COPY_IN, e);
    writer_free(&out);
    writer_free(&in);
    return ok;
}

/* Which row the source cannot send: each comes in a CopyData of its own, the binary form's header with the first. */
static void row_tell(Copying *c, const Relay *relay, Error *e) {
    const CopyRange *range = c->job->range;
    if (relay->refused == 0)
        return;
    const char *where = range != NULL ? " WHERE " : "", *condition = range != NULL ? range->condition : "";
    fail_context(e, "row %" PRId64 "%s%s", relay->refused, where, condition);
    if (c->table->where != NULL)
        return; /* among which the statement below would not count */
    fail_hint(e,
              "mend it at the source: SET %s = off; SELECT ctid, * FROM ONLY %s%s%s"
              " OFFSET %" PRId64 " LIMIT 1",
              range != NULL ? "enable_seqscan" : "synchronize_seqscans", writer_string(&c->name), where,
              condition, relay->refused - 1);
}

static bool rows_note(Copying *c, const Relay *relay, Error *e) {
    const CopyJob *job = c->job;
    if (job->range == NULL)
        return state_table_loaded(c->target, job->cfg, c->table, job->point, relay->rows, relay->bytes, e);
    job->range->rows = relay->rows;
    job->range->bytes = relay->bytes;
    return FAULT("snapshot.range_commit", e);
}

static bool rows_copy(Copying *c, Error *e) {
    const CopyJob *job = c->job;
    Relay relay = {.source = c->source,
                   .target = c->target,
                   .stop = job->stop,
                   .progress = job->progress,
                   .metrics = job->metrics,
                   .throttle = job->throttle};
    bool ok = copies_start(c, e) && relay_run(&relay, e) && pg_run(c->source, "COMMIT", e) &&
              copy_target_keep(c, relay.rows, e) && rows_note(c, &relay, e) && pg_run(c->target, "COMMIT", e);
    row_tell(c, &relay, e);
    if (!ok)
        relay_untell(&relay);
    return ok;
}

static CopyResult table_try(Copying *c, Error *e) {
    CopyResult result = copy_source_begin(c, e);
    if (result == COPY_DONE)
        result = copy_target_begin(c, e);
    return result != COPY_DONE ? result : rows_copy(c, e) ? COPY_DONE : COPY_FAILED;
}

CopyResult copy_table(Pg *source, Pg *target, const CopyJob *job, Error *e) {
    Copying c = {.job = job,
                 .table = job->table,
                 .source = source,
                 .target = target,
                 .name = writer_new(COPY_SQL_MAX_BYTES),
                 .target_name = writer_new(COPY_SQL_MAX_BYTES),
                 .columns = writer_new(COPY_SQL_MAX_BYTES),
                 .target_columns = writer_new(COPY_SQL_MAX_BYTES)};
    pg_write_table(&c.name, source, job->table->schema, job->table->name);
    pg_write_table(&c.target_name, target, job->table->target_schema, job->table->target_name);
    columns_write(&c);
    metrics_copying(job->progress, clock_us());
    CopyResult result = table_try(&c, e);
    session_leave(source);
    session_leave(target);
    if (job->range == NULL)
        atomic_store(&job->progress->stage, result == COPY_DONE ? TABLE_LOADED : TABLE_PENDING);
    if (result == COPY_FAILED && e->kind != ERR_STOPPED && strstr(e->text, job->table->full_name) == NULL)
        fail_context(e, "table \"%s\"", job->table->full_name);
    Writer *const writers[] = {&c.name, &c.target_name, &c.columns, &c.target_columns};
    for (size_t at = 0; at < sizeof writers / sizeof *writers; at++)
        writer_free(writers[at]);
    return result;
}
