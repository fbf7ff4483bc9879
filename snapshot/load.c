#include "snapshot/load.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "snapshot/copy.h"
#include "snapshot/load_intern.h"
#include "snapshot/load_plan.h"
#include "snapshot/pool.h"
#include "snapshot/session.h"

enum { CONNECT_WAIT_MS = 10000, SQL_MAX_BYTES = 1024, LIST_MAX_BYTES = 64 << 20 };

/* The caller's last change of state is flushed, and with it everything before. */
static const char TARGET_OPTIONS[] = "SET synchronous_commit = off";
/* Existing triggers and foreign keys of the destination must not act on rows that have had their effects
 * already. Not every account may; then they do, and `check` has said so. */
static const char SQL_REPLICA_ROLE[] = "SET session_replication_role = replica";
static const char SQL_POPULATED[] =
    "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
    "c.relnamespace"
    " WHERE c.relkind = 'm' AND c.relispopulated"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x WHERE x.classid = 'pg_catalog.pg_class'::regclass"
    "                 AND x.objid = c.oid AND x.deptype = 'e')";
/* Those of $1 (schemas) and $2 (names). */
static const char SQL_MATERIALIZED_VIEWS[] =
    "WITH RECURSIVE used AS ("
    " SELECT DISTINCT r.ev_class AS by_view, d.refobjid AS view"
    " FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid"
    " JOIN pg_catalog.pg_class c ON c.oid = d.refobjid"
    " WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass"
    " AND d.refobjid <> r.ev_class AND c.relkind IN ('v', 'm')"
    "), placed(view, level) AS ("
    " SELECT c.oid, 0 FROM pg_catalog.pg_class c WHERE c.relkind IN ('v', 'm')"
    " UNION SELECT u.by_view, p.level + 1 FROM placed p JOIN used u ON u.view = p.view WHERE p.level < 1000"
    ") SELECT n.nspname, c.relname FROM placed p JOIN pg_catalog.pg_class c ON c.oid = p.view"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'm' AND (n.nspname::text, c.relname::text) IN"
    " (SELECT s, t FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS x (s, t))"
    " GROUP BY n.nspname, c.relname ORDER BY max(p.level), n.nspname, c.relname";
/* As at the source, a view's owner sees what row security shows it. */
static const char SQL_REFRESH[] = "SET LOCAL row_security = on; REFRESH MATERIALIZED VIEW ";

Pg *load_target_open(const Load *load, Error *e) {
    const PgAddress address = {
        .dsn = load->cfg->target.dsn, .side = "target", .job = load->cfg->name, .options = TARGET_OPTIONS};
    Pg *target = pg_open_wait(&address, CONNECT_WAIT_MS, e);
    if (target == NULL)
        return NULL;
    target->when = RETRY_APPLYING;
    pg_expect_work(target);
    if (state_share(target, load->cfg, e))
        return target;
    pg_close(target);
    return NULL;
}

/* ---- tables ---- */

typedef struct TableSession {
    Pg *source, *target;
} TableSession;

typedef struct TableWork {
    const Load *load;
    const int *order;
    const char *snapshot;
    Lsn point;
    atomic_int left;
} TableWork;

static void table_session_close(void *context) {
    TableSession *session = context;
    pg_close(session->source);
    pg_close(session->target);
    free(session);
}

static void *table_session_open(void *shared, Error *e) {
    const Load *load = ((const TableWork *)shared)->load;
    const PgAddress address = {.dsn = load->cfg->source.dsn, .side = "source", .job = load->cfg->name};
    TableSession *session = calloc(1, sizeof *session);
    assert(session != NULL);
    session->source = pg_open_wait(&address, CONNECT_WAIT_MS, e);
    session->target = session->source == NULL ? NULL : load_target_open(load, e);
    if (session->target == NULL) {
        table_session_close(session);
        return NULL;
    }
    Error refused;
    pg_run(session->target, SQL_REPLICA_ROLE, &refused);
    return session;
}

/* Somebody's lock on one table must not throw away the copies of the others that are under way. */
#define LOCK_NOT_AVAILABLE "55P03"

static bool table_run(void *shared, void *context, int piece, const atomic_bool *halt, Error *e) {
    TableWork *work = shared;
    TableSession *session = context;
    int index = work->order[piece];
    const Table *table = &work->load->selection->tables[index];
    CopyJob job = {.cfg = work->load->cfg,
                   .table = table,
                   .snapshot = work->snapshot,
                   .point = work->point,
                   .progress = metrics_table(work->load->metrics, table->full_name),
                   .metrics = work->load->metrics,
                   .stop = halt};
    CopyResult result = copy_table(session->source, session->target, &job, e);
    if (result == COPY_REWRITTEN) {
        log_warn(
            "table \"%s\" was rewritten since the snapshot was taken; it is loaded again under a new one",
            table->full_name);
        atomic_fetch_add(&work->left, 1);
    }
    if (result == COPY_FAILED && strcmp(e->sqlstate, LOCK_NOT_AVAILABLE) == 0) {
        log_warn("table \"%s\" is locked by somebody else; it is loaded again later", table->full_name);
        atomic_fetch_add(&work->left, 1);
        return true;
    }
    return result != COPY_FAILED;
}

bool load_tables(const Load *load, const TableRecords *records, const char *snapshot, Lsn point, int *left,
                 Error *e) {
    int *order = calloc((size_t)load->selection->count + 1, sizeof *order);
    assert(order != NULL);
    TableWork work = {.load = load, .order = order, .snapshot = snapshot, .point = point};
    PoolWork pool = {.pieces = load_plan_tables(load->selection, records, order),
                     .workers = load->cfg->load.workers,
                     .stop = load->stop,
                     .shared = &work,
                     .open = table_session_open,
                     .run = table_run,
                     .close = table_session_close};
    bool ok = pool_run(&pool, e);
    *left = atomic_load(&work.left);
    free(order);
    return ok;
}

/* ---- statistics ---- */

static void *analyze_open(void *shared, Error *e) {
    return load_target_open(((const TableWork *)shared)->load, e);
}

static void analyze_close(void *session) {
    pg_close(session);
}

static bool analyze_run(void *shared, void *session, int piece, const atomic_bool *halt, Error *e) {
    const TableWork *work = shared;
    const Table *table = &work->load->selection->tables[work->order[piece]];
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "ANALYZE ");
    pg_write_table(&sql, session, table->target_schema, table->target_name);
    metrics_activity(work->load->metrics, "analyzing %s", table->full_name);
    bool ok = session_run(session, writer_string(&sql), halt, e);
    writer_free(&sql);
    return ok ? true : fail_context(e, "statistics of table \"%s\"", table->full_name);
}

bool load_analyze(const Load *load, Error *e) {
    int *order = calloc((size_t)load->selection->count + 1, sizeof *order);
    assert(order != NULL);
    TableWork work = {.load = load, .order = order};
    PoolWork pool = {.pieces = load_plan_tables(load->selection, NULL, order),
                     .workers = load->cfg->load.workers,
                     .stop = load->stop,
                     .shared = &work,
                     .open = analyze_open,
                     .run = analyze_run,
                     .close = analyze_close};
    bool ok = pool_run(&pool, e);
    free(order);
    return ok;
}

/* ---- materialized views ---- */

static bool view_refresh(const Load *load, Pg *target, const char *schema, const char *name, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, SQL_REFRESH);
    pg_write_table(&sql, target, schema, name);
    metrics_activity(load->metrics, "refreshing materialized view %s.%s", schema, name);
    bool ok = session_run(target, writer_string(&sql), load->stop, e);
    writer_free(&sql);
    return ok ? true : fail_context(e, "materialized view \"%s.%s\"", schema, name);
}

/* The views that the job takes and that hold rows at the source, by their names at the destination, as two arrays. */
static bool views_gather(const Load *load, Pg *source, Writer *schemas, Writer *names, Error *e) {
    const Mapping *mapping = load->selection->mapping;
    PGresult *rows = pg_query(source, SQL_POPULATED, 0, NULL, e);
    Arena *arena = arena_new();
    writer_text(schemas, "{");
    writer_text(names, "{");
    for (int row = 0; rows != NULL && row < PQntuples(rows); row++) {
        const char *schema = pg_cell(rows, row, 0), *name = pg_cell(rows, row, 1);
        if (mapping_takes(mapping, schema, name) != TAKEN_YES)
            continue;
        MappedName target = mapping_relation(mapping, arena, schema, name);
        pg_write_item(schemas, target.schema);
        pg_write_item(names, target.name);
    }
    writer_text(schemas, "}");
    writer_text(names, "}");
    arena_free(arena);
    PQclear(rows);
    return rows != NULL;
}

bool load_refresh(const Load *load, Pg *source, Pg *target, Error *e) {
    Writer schemas = writer_new(LIST_MAX_BYTES), names = writer_new(LIST_MAX_BYTES);
    bool ok = views_gather(load, source, &schemas, &names, e);
    const char *const params[] = {writer_string(&schemas), writer_string(&names)};
    PGresult *views = ok ? pg_query(target, SQL_MATERIALIZED_VIEWS, 2, params, e) : NULL;
    ok = views != NULL;
    for (int row = 0; ok && row < PQntuples(views); row++)
        ok = view_refresh(load, target, pg_cell(views, row, 0), pg_cell(views, row, 1), e);
    PQclear(views);
    writer_free(&schemas);
    writer_free(&names);
    return ok;
}
