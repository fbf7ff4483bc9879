#include "job/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "decoder/publication.h"
#include "job/birth_source.h"
#include "job/build.h"
#include "job/exported.h"
#include "snapshot/existing.h"
#include "snapshot/session.h"

#define NOTE "join "

/* The partitioned tables above these tables. */
static const char SQL_ABOVE[] =
    "SELECT DISTINCT c.oid, n.nspname, c.relname FROM pg_catalog.unnest($1::oid[]) t (oid)"
    " CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(t.oid) a"
    " JOIN pg_catalog.pg_class c ON c.oid = a.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'p'";
static const char SQL_THERE[] = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
/* Indexes of these tables that ATTACH PARTITION makes, because one of a table that is there already is above them. */
static const char SQL_ATTACHED[] =
    "WITH RECURSIVE up AS (SELECT i.indexrelid AS leaf, h.inhparent AS above FROM pg_catalog.pg_index i"
    "   JOIN pg_catalog.pg_inherits h ON h.inhrelid = i.indexrelid WHERE i.indrelid = ANY ($1::oid[])"
    " UNION SELECT up.leaf, h.inhparent FROM up JOIN pg_catalog.pg_inherits h ON h.inhrelid = up.above)"
    " SELECT DISTINCT c.relname, t.relname FROM up JOIN pg_catalog.pg_index a ON a.indexrelid = up.above"
    " JOIN pg_catalog.pg_class c ON c.oid = up.leaf JOIN pg_catalog.pg_index i ON i.indexrelid = up.leaf"
    " JOIN pg_catalog.pg_class t ON t.oid = i.indrelid WHERE a.indrelid <> ALL ($1::oid[])";

enum { LIST_LIMIT = 64 << 20, SQL_LIMIT = 1 << 20 };

static bool is_new(const Table *table) {
    return table->record_name == NULL;
}

bool join_waits(const Walk *walk) {
    for (int at = 0; at < walk->selection->count; at++)
        if (is_new(&walk->selection->tables[at]))
            return true;
    return false;
}

/* "{16391,16402}" */
static Writer oids_begin(void) {
    Writer oids = writer_new(LIST_LIMIT);
    writer_text(&oids, "{}");
    return oids;
}

static void oids_add(Writer *oids, const char *oid) {
    oids->len--;
    writer_format(oids, "%s%s}", oids->len > 1 ? "," : "", oid);
}

/* ---- published ---- */

static bool publish(Walk *walk, Error *e) {
    return birth_source_publish(walk, e) && FAULT("join.after_publication", e) && exported_wait(walk, e) &&
           publication_renew(walk->source, walk->job->cfg, walk->selection, e);
}

/* ---- definitions ---- */

static bool is_there(const Walk *walk, const char *schema, const char *name, bool *there, Error *e) {
    char answer[8];
    Arena *arena = arena_new();
    MappedName target = mapping_relation(walk->selection->mapping, arena, schema, name);
    Writer quoted = writer_new(SQL_LIMIT);
    pg_write_table(&quoted, walk->record, target.schema, target.name);
    const char *const params[] = {writer_string(&quoted)};
    bool ok = pg_value(walk->record, SQL_THERE, 1, params, answer, sizeof answer, e);
    *there = ok && answer[0] == 't';
    writer_free(&quoted);
    arena_free(arena);
    return ok;
}

/* The new tables, and the partitioned ones above them that are new, too. */
static bool new_oids(Walk *walk, Writer *oids, Error *e) {
    char oid[16];
    for (int at = 0; at < walk->selection->count; at++)
        if (is_new(&walk->selection->tables[at])) {
            snprintf(oid, sizeof oid, "%u", walk->selection->tables[at].oid);
            oids_add(oids, oid);
        }
    const char *const params[] = {writer_string(oids)};
    PGresult *above = pg_query(walk->source, SQL_ABOVE, 1, params, e);
    bool ok = above != NULL, there = false;
    for (int row = 0; ok && row < PQntuples(above); row++) {
        ok = is_there(walk, pg_cell(above, row, 1), pg_cell(above, row, 2), &there, e);
        if (ok && !there)
            oids_add(oids, pg_cell(above, row, 0));
    }
    PQclear(above);
    return ok;
}

/* Definitions of these tables alone, and of what they need and the target has not. */
static bool dump_of(Walk *walk, Writer *oids, Dump *out, Error *e) {
    PGresult *others = existing_others(walk->source, writer_string(oids), e);
    bool ok = others != NULL && build_dump_beside(walk, others, out, e);
    PQclear(others);
    return ok;
}

static bool notes_write(Walk *walk, Writer *oids, Error *e) {
    char *rest = NULL, *list = memory_text(writer_string(oids) + 1), note[40];
    bool ok = true;
    for (char *oid = strtok_r(list, ",}", &rest); ok && oid != NULL; oid = strtok_r(NULL, ",}", &rest)) {
        snprintf(note, sizeof note, NOTE "%s", oid);
        ok = state_object_note(walk->record, walk->job->cfg, note, "a table that joined", e);
    }
    free(list);
    return ok;
}

static bool definitions_make(Walk *walk, Error *e) {
    Dump dump = {0};
    Error ignored;
    Writer oids = oids_begin();
    bool ok = pg_run(walk->record, "BEGIN; SET LOCAL lock_timeout = '10s'", e) && new_oids(walk, &oids, e) &&
              dump_of(walk, &oids, &dump, e) && build_definitions(walk, &dump, e) &&
              FAULT("join.after_definitions", e) &&
              state_tables_join(walk->record, walk->job->cfg, walk->selection, e) &&
              notes_write(walk, &oids, e) &&
              pg_run(walk->record, "SET LOCAL synchronous_commit = on; COMMIT", e);
    if (!ok)
        pg_run(walk->record, "ROLLBACK", &ignored);
    dump_free(&dump);
    writer_free(&oids);
    return ok;
}

bool join_begin(Walk *walk, Error *e) {
    for (int at = 0; at < walk->selection->count; at++)
        if (is_new(&walk->selection->tables[at]))
            log_info("table \"%s\" is new on the source: it joins the job",
                     walk->selection->tables[at].full_name);
    return !join_waits(walk) ||
           (publish(walk, e) && definitions_make(walk, e) && FAULT("join.after_record", e));
}

/* ---- behind the rows ---- */

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), size = strlen(end);
    return length >= size && strcmp(text + length - size, end) == 0;
}

/* "index", or "table index" as pg_restore calls a constraint. */
static bool is_of_index(const DumpEntry *entry, const char *index, const char *table) {
    char constraint[200];
    snprintf(constraint, sizeof constraint, "%s %s", table, index);
    return strcmp(entry->name, index) == 0 || ends_with(entry->name, constraint);
}

/* ATTACH PARTITION has made it. */
static bool is_attached(const void *attached, const DumpEntry *entry) {
    const PGresult *rows = attached;
    for (int row = 0; entry->kind == DUMP_INDEX && row < PQntuples(rows); row++)
        if (is_of_index(entry, pg_cell(rows, row, 0), pg_cell(rows, row, 1)))
            return true;
    return false;
}

bool join_dump(Walk *walk, Dump *out, Error *e) {
    PGresult *notes = state_objects(walk->record, walk->job->cfg, NOTE, e);
    if (notes == NULL || PQntuples(notes) == 0) {
        PQclear(notes);
        return notes != NULL;
    }
    Writer oids = oids_begin();
    for (int row = 0; row < PQntuples(notes); row++)
        oids_add(&oids, pg_cell(notes, row, 0) + strlen(NOTE));
    const char *const params[] = {writer_string(&oids)};
    PGresult *attached = pg_query(walk->source, SQL_ATTACHED, 1, params, e);
    bool ok = attached != NULL && dump_of(walk, &oids, out, e);
    if (ok)
        dump_leave_out(out, is_attached, attached);
    PQclear(attached);
    PQclear(notes);
    writer_free(&oids);
    return ok;
}

bool join_end(Walk *walk, Dump *dump, Error *e) {
    int64_t count;
    return dump->pre_data == NULL || (build_rest_beside(walk, dump, e) && FAULT("join.before_end", e) &&
                                      state_object_forget(walk->record, walk->job->cfg, NOTE, &count, e));
}
