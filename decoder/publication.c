#include "decoder/publication.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/sqlstate.h"
#include "decoder/heartbeat.h"

/* In one message with the statement that it bounds: one transaction, which ends by itself on an error. */
static const char LOCK_SQL[] = "SET LOCAL lock_timeout = '2s'; ";
/* A statement that met a lock is sent again after a pause in which whoever queued behind it gets through. */
enum { LOCK_WAIT_MS = 30000, LOCK_PAUSE_MS = 1000 };
/* Tables in one statement: each costs the source a lock until it commits, and all share its lock table. */
enum { TABLES_AT_ONCE = 1000 };
enum { SERVER_18 = 180000 };

static const char ALL_SQL[] = "publish = 'insert, update, delete, truncate'";
static const char INSERTS_SQL[] = "publish = 'insert, truncate'";
static const char LEAVES_SQL[] = ", publish_via_partition_root = false";

/* What a publication is: all tables, insert, update, delete, truncate, by the root, whole schemas. */
#define LOOK_SQL(root, schemas)                                                                              \
    "SELECT p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, " root ", " schemas        \
    " FROM pg_publication p WHERE p.pubname = $1"
static const char LOOK_15_SQL[] =
    LOOK_SQL("p.pubviaroot", "EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid)");
static const char LOOK_13_SQL[] = LOOK_SQL("p.pubviaroot", "false");
static const char LOOK_12_SQL[] = LOOK_SQL("false", "false");

/* Its members, with their row filters and column lists ("1 3"). */
#define MEMBERS_SQL(cut)                                                                                     \
    "SELECT c.oid, n.nspname, c.relname, " cut                                                               \
    " FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid"                                  \
    " JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace"                    \
    " WHERE p.pubname = $1 ORDER BY c.oid"
#define FILTER_15                                                                                            \
    "pg_get_expr(r.prqual, r.prrelid),"                                                                      \
    " (SELECT string_agg(a::text, ' ' ORDER BY a) FROM unnest(r.prattrs::int2[]) a)"
#define FILTER_12 "NULL, NULL"
static const char MEMBERS_15_SQL[] = MEMBERS_SQL(FILTER_15);
static const char MEMBERS_12_SQL[] = MEMBERS_SQL(FILTER_12);

/* What a publication of the user's sends, in whatever way it says so. */
#define SENT_SQL(cut)                                                                                        \
    "SELECT c.oid, n.nspname, c.relname, " cut " FROM pg_publication p"                                      \
    " CROSS JOIN LATERAL pg_get_publication_tables(p.pubname::text) g"                                       \
    " JOIN pg_class c ON c.oid = g.relid JOIN pg_namespace n ON n.oid = c.relnamespace"                      \
    " LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid"                             \
    " WHERE p.pubname = $1 ORDER BY c.oid"
static const char SENT_15_SQL[] = SENT_SQL(FILTER_15);
static const char SENT_12_SQL[] = SENT_SQL(FILTER_12);

/* Which columns the filter of a publication that holds one table names. */
static const char FILTERED_BY_SQL[] =
    "SELECT d.refobjsubid FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid"
    " JOIN pg_depend d ON d.classid = 'pg_publication_rel'::regclass AND d.objid = r.oid"
    " AND d.refclassid = 'pg_class'::regclass AND d.refobjid = r.prrelid AND d.refobjsubid > 0"
    " WHERE p.pubname = $1";

static const char EXISTS_SQL[] = "SELECT EXISTS (SELECT FROM pg_class WHERE oid = $1::oid)";

typedef struct Member {
    uint32_t oid;
    const char *schema, *name;
    const char *filter;  /* as the job or the server writes it, or NULL */
    const char *columns; /* numbers of the columns in the list ("1 3"), or NULL */
    const Table *table;  /* of a wanted one; NULL: the heartbeat's */
    bool differs;        /* wanted and held, and the server sends other rows or columns than wanted */
} Member;

/* By OID. */
typedef struct Members {
    int count;
    Member *rows;
    PGresult *result; /* what the texts of a list from the server are lent from */
} Members;

/* One of the job's publications: what it should be, and what it is. */
typedef struct Publication {
    const char *name;
    bool inserts; /* the one for tables without identity */
    bool ours;    /* made by us; else only checked */
    Arena *arena;
    Members wanted, held;
    bool exists, remake, options_differ;
} Publication;

static bool is_ours(const Config *cfg) {
    return strcmp(cfg->source.publication, cfg->slot) == 0;
}

static int compare_by_oid(const void *a, const void *b) {
    uint32_t left = ((const Member *)a)->oid, right = ((const Member *)b)->oid;
    return (left > right) - (left < right);
}

static bool is_wanted(const Table *t, bool inserts) {
    bool identity = t->identity != TABLE_IDENTITY_NONE;
    return !t->unlogged && (inserts ? t->insert_only : identity);
}

static const char *columns_text(Arena *arena, const Table *t) {
    Writer out = writer_new(SIZE_MAX);
    for (int at = 0; at < t->column_count; at++)
        if (t->columns[at].taken && !t->columns[at].generated)
            writer_format(&out, "%s%d", out.len == 0 ? "" : " ", t->columns[at].number);
    const char *kept = arena_text(arena, writer_slice(&out));
    writer_free(&out);
    return kept;
}

static bool wanted_fill(Publication *p, Pg *source, const Config *cfg, const Selection *selection, Error *e) {
    uint32_t beat = 0;
    if (!p->inserts && cfg->source.heartbeat_ms > 0 && !heartbeat_table(source, cfg, &beat, e))
        return false;
    p->wanted.rows = memory_array((size_t)selection->count + 1, sizeof *p->wanted.rows);
    for (int n = 0; n < selection->count; n++) {
        const Table *t = &selection->tables[n];
        if (is_wanted(t, p->inserts))
            p->wanted.rows[p->wanted.count++] =
                (Member){.oid = t->oid,
                         .schema = t->schema,
                         .name = t->name,
                         .filter = t->where,
                         .columns = t->listed ? columns_text(p->arena, t) : NULL,
                         .table = t};
    }
    if (beat != 0)
        p->wanted.rows[p->wanted.count++] = (Member){
            .oid = beat, .schema = cfg->source.heartbeat_schema, .name = cfg->source.heartbeat_table};
    qsort(p->wanted.rows, (size_t)p->wanted.count, sizeof *p->wanted.rows, compare_by_oid);
    return true;
}

static bool held_fill(Publication *p, Pg *source, Error *e) {
    bool new = source->version >= 150000;
    const char *sql = p->ours ? (new ? MEMBERS_15_SQL : MEMBERS_12_SQL) : (new ? SENT_15_SQL : SENT_12_SQL);
    PGresult *rows = pg_query(source, sql, 1, &p->name, e);
    if (rows == NULL)
        return false;
    p->held = (Members){.count = PQntuples(rows), .result = rows};
    p->held.rows = memory_array((size_t)p->held.count + 1, sizeof *p->held.rows);
    for (int n = 0; n < p->held.count; n++)
        p->held.rows[n] = (Member){.oid = (uint32_t)pg_cell_int(rows, n, 0),
                                   .schema = pg_cell(rows, n, 1),
                                   .name = pg_cell(rows, n, 2),
                                   .filter = pg_cell_null(rows, n, 3) ? NULL : pg_cell(rows, n, 3),
                                   .columns = pg_cell_null(rows, n, 4) ? NULL : pg_cell(rows, n, 4)};
    return true;
}

static bool texts_equal(const char *a, const char *b) {
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The two expressions of a plan in the planner's words. */
static bool plan_says_equal(const char *plan) {
    json_t *root = json_loads(plan, 0, NULL);
    json_t *outputs = json_object_get(json_object_get(json_array_get(root, 0), "Plan"), "Output");
    const char *first = json_string_value(json_array_get(outputs, 0));
    const char *second = json_string_value(json_array_get(outputs, 1));
    bool equal = first != NULL && texts_equal(first, second);
    json_decref(root);
    return equal;
}

/* The server stores a filter in words of its own. Its planner writes the job's and the stored one in the same words, side
 * by side in one plan, whichever way it would take to the rows. */
static bool filters_compare(Pg *source, Member *wanted, const Member *held, Error *e) {
    Writer sql = writer_new(SIZE_MAX);
    writer_format(&sql,
                  "EXPLAIN (VERBOSE, COSTS off, FORMAT json) SELECT (%s\n)::bool, (%s)::bool FROM ONLY ",
                  wanted->filter, held->filter);
    pg_write_table(&sql, source, wanted->schema, wanted->name);
    PGresult *plan = pg_query(source, writer_string(&sql), 0, NULL, e);
    writer_free(&sql);
    if (plan == NULL)
        return fail_context(e, "row filter of table \"%s.%s\"", wanted->schema, wanted->name);
    wanted->differs = !plan_says_equal(pg_cell(plan, 0, 0));
    PQclear(plan);
    return true;
}

static bool member_compare(Pg *source, Member *wanted, const Member *held, Error *e) {
    wanted->differs =
        !texts_equal(wanted->columns, held->columns) || (wanted->filter == NULL) != (held->filter == NULL);
    return wanted->differs || wanted->filter == NULL || filters_compare(source, wanted, held, e);
}

static bool members_compare(Publication *p, Pg *source, Error *e) {
    int other = 0;
    for (int n = 0; n < p->wanted.count; n++) {
        Member *wanted = &p->wanted.rows[n];
        while (other < p->held.count && p->held.rows[other].oid < wanted->oid)
            other++;
        if (other == p->held.count || p->held.rows[other].oid != wanted->oid)
            continue;
        if (!member_compare(source, wanted, &p->held.rows[other], e))
            return false;
        p->held.rows[other].differs = wanted->differs;
    }
    return true;
}

static void publication_clear(Publication *p) {
    arena_free(p->arena);
    free(p->wanted.rows);
    free(p->held.rows);
    PQclear(p->held.result);
}

static bool publication_look(Publication *p, Pg *source, Error *e) {
    const char *sql = source->version >= 150000   ? LOOK_15_SQL
                      : source->version >= 130000 ? LOOK_13_SQL
                                                  : LOOK_12_SQL;
    PGresult *rows = pg_query(source, sql, 1, &p->name, e);
    if (rows == NULL)
        return false;
    p->exists = PQntuples(rows) == 1;
    if (p->exists) {
        bool changes = pg_cell_bool(rows, 0, 2) && pg_cell_bool(rows, 0, 3);
        bool no_changes = !pg_cell_bool(rows, 0, 2) && !pg_cell_bool(rows, 0, 3);
        p->options_differ = !pg_cell_bool(rows, 0, 1) || !pg_cell_bool(rows, 0, 4) ||
                            !(p->inserts ? no_changes : changes) || pg_cell_bool(rows, 0, 5);
        p->remake = pg_cell_bool(rows, 0, 0) || pg_cell_bool(rows, 0, 6);
    }
    PQclear(rows);
    return true;
}

/* Fills p for one of the two; publication_clear in any case. */
static bool publication_read(Publication *p, Pg *source, const Config *cfg, const Selection *selection,
                             bool inserts, Error *e) {
    *p = (Publication){.name = inserts ? cfg->insert_publication : cfg->source.publication,
                       .arena = arena_new(),
                       .inserts = inserts,
                       .ours = inserts || is_ours(cfg)};
    return wanted_fill(p, source, cfg, selection, e) && publication_look(p, source, e) &&
           held_fill(p, source, e) && members_compare(p, source, e);
}

/* ---- changing ---- */

static bool locked_run(Pg *source, Writer *sql, int64_t wait_ms, Error *e) {
    assert(!sql->full);
    int64_t deadline_ms = clock_ms() + wait_ms;
    while (!pg_run(source, writer_string(sql), e)) {
        bool in_the_way =
            sqlstate_is(e, SQLSTATE_LOCK_NOT_AVAILABLE) || sqlstate_is(e, SQLSTATE_DEADLOCK_DETECTED);
        if (!in_the_way || clock_ms() + LOCK_PAUSE_MS >= deadline_ms)
            return false;
        clock_sleep_ms(LOCK_PAUSE_MS);
    }
    return true;
}

/* "SET LOCAL …; <verb> <publication's name>" */
static Writer statement_begin(Pg *source, const char *verb, const char *publication) {
    Writer sql = writer_new(SIZE_MAX);
    writer_text(&sql, LOCK_SQL);
    writer_text(&sql, verb);
    pg_write_name(&sql, source, publication);
    return sql;
}

static bool statement_end(Pg *source, Writer *sql, const char *publication, Error *e) {
    bool good = locked_run(source, sql, LOCK_WAIT_MS, e);
    writer_free(sql);
    return good || fail_context(e, "publication \"%s\"", publication);
}

static bool options_run(Pg *source, const Publication *p, const char *verb, const char *open, Error *e) {
    Writer sql = statement_begin(source, verb, p->name);
    writer_format(&sql, "%s%s%s)", open, p->inserts ? INSERTS_SQL : ALL_SQL,
                  source->version >= 130000 ? LEAVES_SQL : "");
    return statement_end(source, &sql, p->name, e);
}

/* What is sent of a table: its columns and rows. */
static void cut_write(Pg *source, const Member *member, Writer *sql) {
    const Table *t = member->table;
    const char *comma = " (";
    for (int at = 0; member->columns != NULL && at < t->column_count; at++) {
        if (!t->columns[at].taken || t->columns[at].generated)
            continue;
        writer_text(sql, comma);
        pg_write_name(sql, source, t->columns[at].name);
        comma = ", ";
    }
    writer_text(sql, member->columns == NULL ? "" : ")");
    if (member->filter != NULL)
        writer_format(sql, " WHERE (%s\n)", member->filter);
}

/* ADD or DROP; ONLY, because the children of a table that is inherited from are members of their own. */
static bool members_run(Pg *source, const Publication *p, const char *action, bool cut,
                        const Member *const *rows, int count, Error *e) {
    for (int from = 0; from < count; from += TABLES_AT_ONCE) {
        Writer sql = statement_begin(source, "ALTER PUBLICATION ", p->name);
        writer_text(&sql, action);
        for (int n = from; n < count && n < from + TABLES_AT_ONCE; n++) {
            writer_text(&sql, n == from ? " TABLE ONLY " : ", ONLY ");
            pg_write_table(&sql, source, rows[n]->schema, rows[n]->name);
            if (cut)
                cut_write(source, rows[n], &sql);
        }
        if (!statement_end(source, &sql, p->name, e))
            return false;
    }
    return true;
}

/* Members of a that b does not hold. One that differs is held by neither, so that it is dropped and added as it
 * should be. */
static int members_missing(const Members *a, const Members *b, const Member **out) {
    int count = 0, other = 0;
    for (int n = 0; n < a->count; n++) {
        while (other < b->count && b->rows[other].oid < a->rows[n].oid)
            other++;
        bool same = other < b->count && b->rows[other].oid == a->rows[n].oid;
        if (!same || a->rows[n].differs)
            out[count++] = &a->rows[n];
    }
    return count;
}

static bool members_mend(Pg *source, const Publication *p, Error *e) {
    const Member **list = memory_array((size_t)(p->wanted.count + p->held.count) + 1, sizeof *list);
    int count = members_missing(&p->held, &p->wanted, list);
    bool good = members_run(source, p, " DROP", false, list, count, e);
    count = members_missing(&p->wanted, &p->held, list);
    good = good && members_run(source, p, " ADD", true, list, count, e);
    free(list);
    return good;
}

static bool drop_run(Pg *source, const char *name, Error *e) {
    Writer sql = statement_begin(source, "DROP PUBLICATION IF EXISTS ", name);
    return statement_end(source, &sql, name, e);
}

static bool publication_mend(Pg *source, Publication *p, Error *e) {
    bool needed = !p->inserts || p->wanted.count > 0;
    if (p->exists && (p->remake || !needed)) {
        if (!drop_run(source, p->name, e))
            return false;
        p->exists = false;
        p->held.count = 0;
    }
    if (!needed)
        return true;
    if (!p->exists && !options_run(source, p, "CREATE PUBLICATION ", " WITH (", e))
        return false;
    if (p->exists && p->options_differ && !options_run(source, p, "ALTER PUBLICATION ", " SET (", e))
        return false;
    return members_mend(source, p, e);
}

/* ---- checking ---- */

/* Takes out those whose tables were dropped: nobody can publish them any more, and nothing of them is lost. */
static bool dropped_leave(Pg *source, const Member **list, int *count, Error *e) {
    int left = 0;
    bool ok = true;
    for (int at = 0; ok && at < *count; at++) {
        char oid[16], exists[8];
        const char *const params[] = {oid};
        snprintf(oid, sizeof oid, "%u", list[at]->oid);
        ok = pg_value(source, EXISTS_SQL, 1, params, exists, sizeof exists, e);
        if (ok && exists[0] == 't')
            list[left++] = list[at];
    }
    *count = left;
    return ok;
}

static bool members_check(Pg *source, const Publication *p, ErrorKind kind, Error *e) {
    const Member **list = memory_array((size_t)(p->wanted.count + p->held.count) + 1, sizeof *list);
    int gone = members_missing(&p->wanted, &p->held, list);
    if (gone > 0 && !dropped_leave(source, list, &gone, e)) {
        free(list);
        return false;
    }
    bool good = gone == 0;
    if (!good)
        fail(e, kind, "publication \"%s\" lacks %d of %d tables, or filters them otherwise: \"%s.%s\"",
             p->name, gone, p->wanted.count, list[0]->schema, list[0]->name);
    /* One of the user's may send more than the job needs. */
    int more = p->ours && good ? members_missing(&p->held, &p->wanted, list) : 0;
    if (more > 0)
        good = fail(e, ERR_CONFIG, "publication \"%s\" publishes \"%s.%s\", which the job did not choose",
                    p->name, list[0]->schema, list[0]->name);
    free(list);
    return good;
}

static bool publication_check(Pg *source, const Publication *p, ErrorKind kind, Error *e) {
    if (p->inserts && p->wanted.count == 0)
        return true;
    if (!p->exists)
        return fail(e, kind, "publication \"%s\" does not exist", p->name);
    if (p->options_differ || (p->ours && p->remake)) {
        fail(e, kind, "publication \"%s\" does not publish what it should", p->name);
        return fail_hint(e, "needed: %s, publish_via_partition_root = false",
                         p->inserts ? INSERTS_SQL : ALL_SQL);
    }
    return members_check(source, p, kind, e);
}

bool publication_forbids_full(const Pg *source, const Table *table) {
    if (source->version < SERVER_18)
        return false;
    for (int at = 0; at < table->column_count; at++)
        if (table->columns[at].generated)
            return true;
    return false;
}

/* A table that no publication takes would be missing at the destination without a word. */
static bool identities_check(const Pg *source, const Config *cfg, const Selection *selection, Error *e) {
    for (int n = 0; n < selection->count; n++) {
        const Table *t = &selection->tables[n];
        if (!t->unlogged && is_ours(cfg) && t->identity == TABLE_IDENTITY_FULL &&
            publication_forbids_full(source, t)) {
            fail(e, ERR_CONFIG, "table \"%s\" has the replica identity FULL and a generated column",
                 t->full_name);
            return fail_hint(e,
                             "published so, the source would refuse the users' UPDATE and DELETE: give it a "
                             "primary key and REPLICA IDENTITY DEFAULT");
        }
        if (t->unlogged || is_wanted(t, false) || is_wanted(t, true))
            continue;
        fail(e, ERR_CONFIG, "table \"%s\" has no replica identity", t->full_name);
        return fail_hint(e, "give it a primary key, or set identity: full or insert-only");
    }
    return true;
}

typedef bool PublicationDo(Pg *source, Publication *p, Error *e);

/* What is to be done with each of the two. */
static bool publications_do(Pg *source, const Config *cfg, const Selection *selection, PublicationDo *act,
                            Error *e) {
    for (int inserts = 0; inserts <= 1; inserts++) {
        Publication p;
        bool good = publication_read(&p, source, cfg, selection, inserts > 0, e) && act(source, &p, e);
        publication_clear(&p);
        if (!good)
            return false;
    }
    return true;
}

static bool make_one(Pg *source, Publication *p, Error *e) {
    return p->ours ? publication_mend(source, p, e) : publication_check(source, p, ERR_CONFIG, e);
}

static bool verify_one(Pg *source, Publication *p, Error *e) {
    return publication_check(source, p, ERR_LOST, e);
}

/* The server tells every decoder of a change, and does not ask whether it is one. */
static bool renew_one(Pg *source, Publication *p, Error *e) {
    return !p->ours || !p->exists || options_run(source, p, "ALTER PUBLICATION ", " SET (", e);
}

bool publication_make(Pg *source, const Config *cfg, const Selection *selection, Error *e) {
    return identities_check(source, cfg, selection, e) &&
           publications_do(source, cfg, selection, make_one, e);
}

bool publication_verify(Pg *source, const Config *cfg, const Selection *selection, Error *e) {
    return publications_do(source, cfg, selection, verify_one, e);
}

bool publication_renew(Pg *source, const Config *cfg, const Selection *selection, Error *e) {
    return publications_do(source, cfg, selection, renew_one, e);
}

void publication_names(Pg *source, const Config *cfg, const Selection *selection, Writer *out) {
    pg_write_name(out, source, cfg->source.publication);
    for (int n = 0; n < selection->count; n++) {
        if (!is_wanted(&selection->tables[n], true))
            continue;
        writer_u8(out, ',');
        pg_write_name(out, source, cfg->insert_publication);
        return;
    }
}

bool publication_drop(Pg *source, const Config *cfg, Error *e) {
    return (!is_ours(cfg) || drop_run(source, cfg->source.publication, e)) &&
           drop_run(source, cfg->insert_publication, e);
}

/* ---- row filters on trial ---- */

static bool try_run(Pg *source, const Table *table, const char *publication, Error *e) {
    Writer sql = writer_new(SIZE_MAX);
    writer_text(&sql, LOCK_SQL);
    writer_text(&sql, "CREATE PUBLICATION ");
    pg_write_name(&sql, source, publication);
    writer_text(&sql, " FOR TABLE ONLY ");
    pg_write_table(&sql, source, table->schema, table->name);
    writer_format(&sql, " WHERE (%s\n)", table->where);
    bool good = pg_run(source, writer_string(&sql), e);
    writer_free(&sql);
    return good;
}

bool publication_try_filter(Pg *source, const Config *cfg, const Table *table,
                            bool (*fits)(const TableColumn *), char column[64], Error *e) {
    char name[64];
    const char *const params[] = {name};
    Error ignored;
    snprintf(name, sizeof name, "%s_try", cfg->slot);
    column[0] = '\0';
    if (!pg_run(source, "BEGIN READ WRITE", e))
        return false;
    PGresult *rows = try_run(source, table, name, e) ? pg_query(source, FILTERED_BY_SQL, 1, params, e) : NULL;
    for (int at = 0; rows != NULL && at < table->column_count; at++)
        for (int row = 0; row < PQntuples(rows); row++)
            if (pg_cell_int(rows, row, 0) == table->columns[at].number && !fits(&table->columns[at]))
                snprintf(column, 64, "%s", table->columns[at].name);
    bool good = rows != NULL;
    PQclear(rows);
    pg_run(source, "ROLLBACK", &ignored);
    return good;
}

/* ---- replica identities ---- */

static bool identity_run(Pg *source, const char *schema, const char *name, const char *identity,
                         const char *index, int64_t wait_ms, Error *e) {
    Writer sql = writer_new(SIZE_MAX);
    writer_text(&sql, LOCK_SQL);
    writer_text(&sql, "ALTER TABLE ONLY ");
    pg_write_table(&sql, source, schema, name);
    writer_format(&sql, " REPLICA IDENTITY %s", identity);
    if (index != NULL)
        pg_write_name(&sql, source, index);
    bool good = locked_run(source, &sql, wait_ms, e);
    writer_free(&sql);
    return good || fail_context(e, "replica identity of \"%s.%s\"", schema, name);
}

bool publication_set_identity(Pg *source, const Table *table, int64_t wait_ms, Error *e) {
    const char *index = table->identity_candidate;
    return identity_run(source, table->schema, table->name, index == NULL ? "FULL" : "USING INDEX ", index,
                        wait_ms, e);
}

bool publication_restore_identity(Pg *source, const char *schema, const char *name, char setting,
                                  int64_t wait_ms, Error *e) {
    /* We changed a table with 'i' only when its index could not serve or was gone: that is no identity. */
    const char *identity = setting == 'd' ? "DEFAULT" : setting == 'f' ? "FULL" : "NOTHING";
    if (identity_run(source, schema, name, identity, NULL, wait_ms, e))
        return true;
    bool gone = sqlstate_is(e, SQLSTATE_UNDEFINED_TABLE) || sqlstate_is(e, SQLSTATE_INVALID_SCHEMA_NAME);
    return gone;
}
