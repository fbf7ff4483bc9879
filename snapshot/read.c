#include "snapshot/read.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/memory.h"
#include "snapshot/copy_intern.h"
#include "snapshot/copy_text.h"
#include "snapshot/session.h"

enum { LOOK_EVERY_MS = 50, TELL_EVERY_ROWS = 1000 };

typedef struct Reading {
    Copying c;
    ReadRow *row;
    void *context;
    uint16_t count; /* of values */
    Value *values;
    char *held; /* the row before the newest: whether it is the last is not known yet */
    size_t held_bytes;
    int64_t rows, bytes, told_rows, told_bytes;
} Reading;

static bool is_read(const TableColumn *column) {
    return column->taken && !column->generated;
}

static void copy_write(Reading *r, Writer *out) {
    const Table *table = r->c.table;
    const char *comma = "";
    writer_text(out, "COPY (SELECT ");
    for (int at = 0; at < table->column_count; at++) {
        if (!is_read(&table->columns[at]))
            continue;
        writer_text(out, comma);
        pg_write_name(out, r->c.source, table->columns[at].name);
        comma = ", ";
    }
    writer_format(out, " FROM ONLY %s", writer_string(&r->c.name));
    if (table->where != NULL)
        writer_format(out, " WHERE (%s\n)", table->where);
    writer_text(out, ") TO STDOUT");
}

static bool copy_start(Reading *r, Error *e) {
    Writer sql = writer_new(COPY_SQL_MAX_BYTES);
    copy_write(r, &sql);
    assert(!sql.full);
    PGresult *result = PQexec(r->c.source->conn, writer_string(&sql));
    bool ok = PQresultStatus(result) == PGRES_COPY_OUT;
    if (!ok)
        pg_failed(r->c.source, result, e);
    PQclear(result);
    writer_free(&sql);
    return ok;
}

static void tell(Reading *r) {
    const CopyJob *job = r->c.job;
    metrics_copied(job->metrics, job->progress, r->rows - r->told_rows, r->bytes - r->told_bytes);
    r->told_rows = r->rows;
    r->told_bytes = r->bytes;
}

static void untell(Reading *r) {
    r->rows = r->bytes = 0;
    tell(r);
}

static bool pay(Reading *r, size_t bytes, Error *e) {
    const CopyJob *job = r->c.job;
    int64_t wait_us, now_us;
    if (throttle_get(job->throttle, THROTTLE_ROWS) <= 0 && throttle_get(job->throttle, THROTTLE_BYTES) <= 0)
        return true;
    now_us = clock_us();
    throttle_take(job->throttle, THROTTLE_ROWS, 1, now_us);
    throttle_take(job->throttle, THROTTLE_BYTES, (int64_t)bytes, now_us);
    while ((wait_us = throttle_wait_us(job->throttle, clock_us())) > 0) {
        if (atomic_load(job->stop))
            return fail(e, ERR_STOPPED, "stopped");
        clock_sleep_ms(wait_us / 1000 < LOOK_EVERY_MS ? wait_us / 1000 + 1 : LOOK_EVERY_MS);
    }
    return true;
}

static bool held_give(Reading *r, bool last, Error *e) {
    if (r->held == NULL)
        return true;
    bool ok = copy_text_split(r->held, r->held_bytes, r->values, r->count)
                  ? r->row(r->context, r->values, last, e)
                  : fail(e, ERR_PROTOCOL, "a row of table \"%s\" is none of COPY's", r->c.table->full_name);
    PQfreemem(r->held);
    r->held = NULL;
    return ok;
}

static bool row_take(Reading *r, char *row, size_t length, Error *e) {
    bool ok = held_give(r, false, e);
    r->held = row;
    r->held_bytes = length;
    r->rows++;
    r->bytes += (int64_t)length;
    if (r->rows % TELL_EVERY_ROWS == 0)
        tell(r);
    return ok && pay(r, length, e);
}

static bool wait_for_more(Reading *r, Error *e) {
    struct pollfd one = {.fd = PQsocket(r->c.source->conn), .events = POLLIN};
    poll(&one, 1, LOOK_EVERY_MS);
    if (atomic_load(r->c.job->stop))
        return fail(e, ERR_STOPPED, "stopped");
    return PQconsumeInput(r->c.source->conn) != 0 || pg_failed(r->c.source, NULL, e);
}

static bool copy_ended(Reading *r, Error *e) {
    PGresult *result = PQgetResult(r->c.source->conn);
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    if (!ok)
        pg_failed(r->c.source, result, e);
    PQclear(result);
    while ((result = PQgetResult(r->c.source->conn)) != NULL)
        PQclear(result);
    return ok;
}

static bool rows_read(Reading *r, Error *e) {
    for (;;) {
        char *row;
        int length = PQgetCopyData(r->c.source->conn, &row, 1);
        if (length > 0) {
            if (!row_take(r, row, (size_t)length, e))
                return false;
        } else if (length == -1)
            return copy_ended(r, e) && held_give(r, true, e);
        else if (length < -1)
            return pg_failed(r->c.source, NULL, e);
        else if (!wait_for_more(r, e))
            return false;
    }
}

static CopyResult table_try(Reading *r, Error *e) {
    CopyResult result = copy_source_begin(&r->c, e);
    if (result != COPY_DONE)
        return result;
    return copy_start(r, e) && rows_read(r, e) && pg_run(r->c.source, "COMMIT", e) ? COPY_DONE : COPY_FAILED;
}

CopyResult read_table(Pg *source, const CopyJob *job, ReadRow *row, void *context, Error *e) {
    Reading r = {
        .c = {.job = job, .table = job->table, .source = source, .name = writer_new(COPY_SQL_MAX_BYTES)},
        .row = row,
        .context = context};
    for (int at = 0; at < job->table->column_count; at++)
        r.count = (uint16_t)(r.count + (is_read(&job->table->columns[at]) ? 1 : 0));
    r.values = memory_array((size_t)r.count + 1, sizeof *r.values);
    pg_write_table(&r.c.name, source, job->table->schema, job->table->name);
    metrics_copying(job->progress, clock_us());
    CopyResult result = table_try(&r, e);
    PQfreemem(r.held);
    tell(&r);
    if (result != COPY_DONE)
        untell(&r);
    session_leave(source);
    atomic_store(&job->progress->stage, result == COPY_DONE ? TABLE_LOADED : TABLE_PENDING);
    writer_free(&r.c.name);
    free(r.values);
    return result;
}
