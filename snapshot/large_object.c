#include "snapshot/large_object.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/fault.h"
#include "core/log.h"
#include "core/sqlstate.h"
#include "snapshot/load_intern.h"
#include "snapshot/session.h"

#define DONE "large objects" /* in place of a statement's hash */
enum { CONNECT_WAIT_MS = 10000, PIECE_BYTES = 256 * 1024, SQL_MAX_BYTES = 64 << 20 };

/* The first piece of each; a few at a time, because a piece is not small. */
static const char SQL_NEXT[] =
    "SELECT m.oid, pg_catalog.lo_get(m.oid, 0, $2::int), pg_catalog.pg_get_userbyid(m.lomowner)"
    " FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid > $1::oid ORDER BY m.oid LIMIT 16";
static const char SQL_PIECE[] = "SELECT pg_catalog.lo_get($1::oid, $2::bigint, $3::int)";
static const char SQL_MAKE[] = "SELECT pg_catalog.lo_from_bytea($1::oid, $2::bytea)";
static const char SQL_PUT[] = "SELECT pg_catalog.lo_put($1::oid, $2::bigint, $3::bytea)";
static const char SQL_COMMENTS[] = "SELECT d.objoid, d.description FROM pg_catalog.pg_description d"
                                   " WHERE d.classoid = 'pg_catalog.pg_largeobject'::regclass";
static const char SQL_GRANTS[] =
    "SELECT m.oid, a.privilege_type, CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee) END,"
    " CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END"
    " FROM pg_catalog.pg_largeobject_metadata m CROSS JOIN LATERAL pg_catalog.aclexplode(m.lomacl) a"
    " WHERE a.grantee <> m.lomowner ORDER BY 1, 2, 3";

typedef struct Carrying {
    const Load *load;
    Pg *source, *target;
    int64_t count, bytes;
} Carrying;

bool large_object_copied(Pg *target, const Config *cfg, bool *copied, Error *e) {
    return state_object_made(target, cfg, DONE, copied, e);
}

/* The server's text of a bytea is "\x" and two digits a byte, and goes back to a server as it is. */
static int64_t piece_bytes(const PGresult *rows, int row, int column) {
    return (PQgetlength(rows, row, column) - 2) / 2;
}

static bool change(Pg *target, const char *sql, int count, const char *const *params, Error *e) {
    PGresult *done = pg_query(target, sql, count, params, e);
    PQclear(done);
    return done != NULL;
}

/* What does not fit into the first piece. */
static bool rest_copy(Carrying *c, const char *oid, Error *e) {
    char offset[24], length[24];
    snprintf(length, sizeof length, "%d", PIECE_BYTES);
    int64_t at = PIECE_BYTES, got = PIECE_BYTES;
    while (got == PIECE_BYTES) {
        if (atomic_load(c->load->stop))
            return fail(e, ERR_STOPPED, "stopped");
        snprintf(offset, sizeof offset, "%" PRId64, at);
        const char *const asked[] = {oid, offset, length};
        PGresult *piece = pg_query(c->source, SQL_PIECE, 3, asked, e);
        if (piece == NULL)
            return false;
        got = piece_bytes(piece, 0, 0);
        const char *const put[] = {oid, offset, pg_cell(piece, 0, 0)};
        bool ok = got == 0 || change(c->target, SQL_PUT, 3, put, e);
        PQclear(piece);
        if (!ok)
            return false;
        at += got;
        c->bytes += got;
    }
    return true;
}

static bool owner_set(Carrying *c, const char *oid, const char *owner, Error *e) {
    if (c->load->cfg->load.owners != OWNERS_KEEP)
        return true;
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_format(&sql, "ALTER LARGE OBJECT %s OWNER TO ", oid);
    pg_write_name(&sql, c->target, owner);
    bool ok = pg_run(c->target, writer_string(&sql), e);
    writer_free(&sql);
    return ok;
}

static bool object_copy(Carrying *c, const PGresult *rows, int row, Error *e) {
    const char *oid = pg_cell(rows, row, 0);
    const char *const params[] = {oid, pg_cell(rows, row, 1)};
    int64_t first = piece_bytes(rows, row, 1);
    bool ok = change(c->target, SQL_MAKE, 2, params, e) && (first < PIECE_BYTES || rest_copy(c, oid, e)) &&
              owner_set(c, oid, pg_cell(rows, row, 2), e);
    c->count++;
    c->bytes += first;
    if (ok || e->kind == ERR_STOPPED)
        return ok;
    if (sqlstate_is(e, SQLSTATE_UNIQUE_VIOLATION))
        fail_hint(e, "the target has a large object of this number: SELECT lo_unlink(%s), if nobody needs it",
                  oid);
    return fail_context(e, "large object %s", oid);
}

static bool objects_copy(Carrying *c, Error *e) {
    char last[24] = "0", length[24];
    snprintf(length, sizeof length, "%d", PIECE_BYTES);
    for (int found = 1; found > 0;) {
        if (atomic_load(c->load->stop))
            return fail(e, ERR_STOPPED, "stopped");
        const char *const params[] = {last, length};
        PGresult *rows = pg_query(c->source, SQL_NEXT, 2, params, e);
        if (rows == NULL)
            return fail_context(e, "large objects behind number %s", last);
        bool ok = true;
        found = PQntuples(rows);
        for (int row = 0; ok && row < found; row++)
            ok = object_copy(c, rows, row, e);
        if (found > 0)
            snprintf(last, sizeof last, "%s", pg_cell(rows, found - 1, 0));
        PQclear(rows);
        if (!ok)
            return false;
        metrics_activity(c->load->metrics, "copying large objects: %" PRId64, c->count);
    }
    return true;
}

static bool comments_copy(Carrying *c, Error *e) {
    PGresult *rows = pg_query(c->source, SQL_COMMENTS, 0, NULL, e);
    bool ok = rows != NULL;
    for (int row = 0; ok && row < PQntuples(rows); row++) {
        Writer sql = writer_new(SQL_MAX_BYTES);
        writer_format(&sql, "COMMENT ON LARGE OBJECT %s IS ", pg_cell(rows, row, 0));
        pg_write_literal(&sql, c->target, pg_cell(rows, row, 1));
        ok = pg_run(c->target, writer_string(&sql), e);
        writer_free(&sql);
    }
    PQclear(rows);
    return ok;
}

static bool grants_copy(Carrying *c, Error *e) {
    if (!c->load->cfg->load.privileges)
        return true;
    PGresult *rows = pg_query(c->source, SQL_GRANTS, 0, NULL, e);
    bool ok = rows != NULL;
    for (int row = 0; ok && row < PQntuples(rows); row++) {
        Writer sql = writer_new(SQL_MAX_BYTES);
        writer_format(&sql, "GRANT %s ON LARGE OBJECT %s TO ", pg_cell(rows, row, 1), pg_cell(rows, row, 0));
        if (pg_cell_null(rows, row, 2))
            writer_text(&sql, "PUBLIC");
        else
            pg_write_name(&sql, c->target, pg_cell(rows, row, 2));
        writer_text(&sql, pg_cell(rows, row, 3));
        ok = pg_run(c->target, writer_string(&sql), e);
        writer_free(&sql);
    }
    PQclear(rows);
    return ok;
}

static bool carry(Carrying *c, const char *snapshot, Error *e) {
    if (!session_import(c->source, snapshot, e) || !pg_run(c->target, "BEGIN", e) || !objects_copy(c, e) ||
        !comments_copy(c, e) || !grants_copy(c, e) || !FAULT("snapshot.mid_large_objects", e) ||
        !state_object_note(c->target, c->load->cfg, DONE, DONE, e) || !pg_run(c->target, "COMMIT", e))
        return false;
    if (c->count > 0)
        log_info("%" PRId64 " large objects copied, %" PRId64 " bytes", c->count, c->bytes);
    return true;
}

bool large_object_copy(const Load *load, const char *snapshot, Error *e) {
    const PgAddress address = {.dsn = load->cfg->source.dsn, .side = "source", .job = load->cfg->name};
    Carrying c = {.load = load, .source = pg_open_wait(&address, CONNECT_WAIT_MS, e)};
    c.target = c.source == NULL ? NULL : load_target_open(load, e);
    bool ok = c.target != NULL && carry(&c, snapshot, e);
    metrics_activity(load->metrics, "%s", "");
    pg_close(c.source);
    pg_close(c.target);
    return ok;
}
