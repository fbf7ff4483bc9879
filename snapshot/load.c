#include "snapshot/load.h"

#include <stdlib.h>

#include "core/memory.h"
#include "snapshot/load_intern.h"
#include "snapshot/load_plan.h"
#include "snapshot/pool.h"
#include "snapshot/session.h"

enum { SQL_MAX_BYTES = 1024, LIST_MAX_BYTES = 64 << 20 };

/* The caller's last change of state is flushed, and with it everything before. */
static const char TARGET_OPTIONS[] = "SET synchronous_commit = off";
/* The tables $1 (schemas) and $2 (names); of partitions their topmost table instead, which takes all of them with it,
 * unless one of them is foreign: their rows are not ours to read. */
static const char SQL_ANALYZED[] =
    "WITH named AS ("
    " SELECT c.oid, x.place, CASE WHEN c.relispartition THEN pg_catalog.pg_partition_root(c.oid)::oid END AS "
    "root"
    " FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))"
    " WITH ORDINALITY AS x (s, t, place)"
    " JOIN pg_catalog.pg_namespace n ON n.nspname = x.s"
    " JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = x.t"
    "), whole AS ("
    " SELECT root AS oid, min(place) AS place FROM named WHERE root IS NOT NULL GROUP BY root"
    " HAVING NOT EXISTS (SELECT FROM pg_catalog.pg_partition_tree(root) p"
    "                    JOIN pg_catalog.pg_class f ON f.oid = p.relid WHERE f.relkind = 'f')"
    "), due AS ("
    " SELECT oid, place FROM whole UNION ALL"
    " SELECT oid, place FROM named WHERE root IS NULL OR root NOT IN (SELECT oid FROM whole)"
    ") SELECT n.nspname, c.relname FROM due JOIN pg_catalog.pg_class c ON c.oid = due.oid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY due.place";
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
    Pg *target = pg_open_wait(&address, LOAD_CONNECT_WAIT_MS, e);
    if (target == NULL)
        return NULL;
    target->when = RETRY_APPLYING;
    pg_expect_work(target);
    if (state_share(target, load->cfg, e))
        return target;
    pg_close(target);
    return NULL;
}

/* ---- statistics ---- */

typedef struct AnalyzeWork {
    const Load *load;
    PGresult *relations;
} AnalyzeWork;

static void *analyze_open(void *shared, Error *e) {
    return load_target_open(((const AnalyzeWork *)shared)->load, e);
}

static void analyze_close(void *session) {
    pg_close(session);
}

static bool relation_analyze(const Load *load, Pg *target, const char *schema, const char *name,
                             const atomic_bool *halt, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "ANALYZE ");
    pg_write_table(&sql, target, schema, name);
    metrics_activity(load->metrics, "analyzing %s.%s", schema, name);
    bool ok = session_run(target, writer_string(&sql), halt, e);
    writer_free(&sql);
    return ok ? true : fail_context(e, "statistics of table \"%s.%s\"", schema, name);
}

static bool analyze_run(void *shared, void *session, int piece, const atomic_bool *halt, Error *e) {
    const AnalyzeWork *work = shared;
    const PGresult *relations = work->relations;
    return relation_analyze(work->load, session, pg_cell(relations, piece, 0), pg_cell(relations, piece, 1),
                            halt, e);
}

/* The names at the destination, largest table first, as two arrays. */
static void tables_gather(const Load *load, Writer *schemas, Writer *names) {
    int *order = memory_array((size_t)load->selection->count + 1, sizeof *order);
    int count = load_plan_tables(load->selection, NULL, order);
    writer_text(schemas, "{");
    writer_text(names, "{");
    for (int at = 0; at < count; at++) {
        const Table *table = &load->selection->tables[order[at]];
        pg_write_item(schemas, table->target_schema);
        pg_write_item(names, table->target_name);
    }
    writer_text(schemas, "}");
    writer_text(names, "}");
    free(order);
}

static PGresult *analyzed_read(const Load *load, Error *e) {
    Pg *target = load_target_open(load, e);
    Writer schemas = writer_new(LIST_MAX_BYTES), names = writer_new(LIST_MAX_BYTES);
    tables_gather(load, &schemas, &names);
    const char *const params[] = {writer_string(&schemas), writer_string(&names)};
    PGresult *relations = target == NULL ? NULL : pg_query(target, SQL_ANALYZED, 2, params, e);
    writer_free(&schemas);
    writer_free(&names);
    pg_close(target);
    return relations;
}

bool load_analyze(const Load *load, Error *e) {
    AnalyzeWork work = {load, analyzed_read(load, e)};
    PoolWork pool = {.pieces = PQntuples(work.relations),
                     .workers = load->cfg->load.workers,
                     .stop = load->stop,
                     .shared = &work,
                     .open = analyze_open,
                     .run = analyze_run,
                     .close = analyze_close};
    bool ok = work.relations != NULL && pool_run(&pool, e);
    PQclear(work.relations);
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
    ok = ok && relation_analyze(load, target, schema, name, load->stop, e);
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
