#include "snapshot/sequence.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/state.h"

enum { SQL_MAX_BYTES = 1024 };

/* Both sides, in the byte order of the names. last_value is NULL while nextval() was never called, and also
 * without the right to see it. */
static const char SQL_SEQUENCES[] =
    "SELECT s.schemaname, s.sequencename, s.last_value, s.increment_by, s.start_value,"
    " pg_catalog.has_sequence_privilege(c.oid, 'SELECT')"
    " FROM pg_catalog.pg_sequences s JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname"
    " JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename"
    " WHERE s.schemaname NOT LIKE 'pg\\_%' AND s.schemaname NOT IN ('information_schema', 'walferry')"
    " AND s.sequencename NOT LIKE 'dts\\_%'"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass"
    "                 AND d.objid = c.oid AND d.deptype = 'e')"
    " ORDER BY s.schemaname::text COLLATE \"C\", s.sequencename::text COLLATE \"C\"";
/* Which tables own a sequence, or use it in a default; by sequence. */
static const char SQL_USERS[] =
    "SELECT q.schema, q.name, u.owns, t.oid, n.nspname, t.relname, t.relkind, k.attname FROM ("
    " SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number, true AS owns FROM "
    "pg_catalog.pg_depend d"
    "  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass"
    "  AND d.deptype IN ('a', 'i')"
    " UNION ALL SELECT d.refobjid, a.adrelid, a.adnum, false FROM pg_catalog.pg_depend d"
    "  JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid"
    "  WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass"
    ") AS u JOIN (SELECT c.oid, s.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class c"
    "  JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace WHERE c.relkind = 'S') AS q ON q.oid = "
    "u.sequence"
    " JOIN pg_catalog.pg_attribute k ON k.attrelid = u.relation AND k.attnum = u.number"
    " JOIN pg_catalog.pg_class t ON t.oid = u.relation JOIN pg_catalog.pg_namespace n ON n.oid = "
    "t.relnamespace"
    " ORDER BY q.schema::text COLLATE \"C\", q.name::text COLLATE \"C\"";
enum UserField {
    USER_SCHEMA,
    USER_NAME,
    USER_OWNS,
    USER_OID,
    USER_TABLE_SCHEMA,
    USER_TABLE,
    USER_KIND,
    USER_COLUMN
};
static const char SQL_SET[] = "SELECT pg_catalog.setval($1::regclass, $2::bigint, $3::boolean)";

bool sequence_moves(int64_t increment, int64_t target_start, SequenceAt source, SequenceAt target) {
    if (source.value == target.value)
        return source.called && !target.called;
    if (!target.called && target.value == target_start)
        return true;
    return increment < 0 ? source.value < target.value : source.value > target.value;
}

/* An uncalled sequence stands where setval(…, false), RESTART or its start put it; only itself knows. */
static bool uncalled_read(Pg *pg, const PGresult *rows, int row, SequenceAt *out, Error *e) {
    char value[32];
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "SELECT last_value FROM ");
    pg_write_table(&sql, pg, pg_cell(rows, row, 0), pg_cell(rows, row, 1));
    bool ok = pg_value(pg, writer_string(&sql), 0, NULL, value, sizeof value, e);
    writer_free(&sql);
    if (ok)
        *out = (SequenceAt){.value = strtoll(value, NULL, 10)};
    return ok;
}

static bool sequence_read(Pg *pg, const PGresult *rows, int row, SequenceAt *out, Error *e) {
    if (!pg_cell_null(rows, row, 2)) {
        *out = (SequenceAt){.value = pg_cell_int(rows, row, 2), .called = true};
        return true;
    }
    if (pg_cell_bool(rows, row, 5))
        return uncalled_read(pg, rows, row, out, e);
    fail(e, ERR_CONFIG, "%s: sequence \"%s.%s\" cannot be read", pg->side, pg_cell(rows, row, 0),
         pg_cell(rows, row, 1));
    return fail_hint(e, "GRANT SELECT ON ALL SEQUENCES IN SCHEMA … TO the account of %s.dsn", pg->side);
}

static bool sequence_set(Pg *target, const PGresult *rows, int row, SequenceAt to, Error *e) {
    char value[32];
    Writer name = writer_new(SQL_MAX_BYTES);
    pg_write_table(&name, target, pg_cell(rows, row, 0), pg_cell(rows, row, 1));
    snprintf(value, sizeof value, "%" PRId64, to.value);
    const char *const params[] = {writer_string(&name), value, to.called ? "t" : "f"};
    PGresult *result = pg_query(target, SQL_SET, 3, params, e);
    bool ok = result != NULL;
    PQclear(result);
    if (!ok)
        fail_context(e, "sequence %s", writer_string(&name));
    writer_free(&name);
    return ok;
}

/* ---- which, and under which name ---- */

typedef struct Carrying {
    Pg *source, *target;
    const Selection *selection;
    const PGresult *existing;
    PGresult *from, *to, *users;
    Arena *arena;
    int *count;
} Carrying;

static bool row_is(const PGresult *rows, int row, const char *schema, const char *name) {
    return row >= 0 && row < PQntuples(rows) && strcmp(pg_cell(rows, row, 0), schema) == 0 &&
           strcmp(pg_cell(rows, row, 1), name) == 0;
}

static bool column_taken(const Table *t, const char *name) {
    for (int at = 0; at < t->column_count; at++)
        if (strcmp(t->columns[at].name, name) == 0)
            return t->columns[at].taken;
    return false;
}

/* A partitioned table is no table of the selection, its leaves are. */
static bool user_taken(const Carrying *c, int row) {
    const Mapping *mapping = c->selection->mapping;
    const char *schema = pg_cell(c->users, row, USER_TABLE_SCHEMA);
    const char *name = pg_cell(c->users, row, USER_TABLE), *column = pg_cell(c->users, row, USER_COLUMN);
    if (pg_cell(c->users, row, USER_KIND)[0] != 'r')
        return mapping_takes(mapping, schema, name) == TAKEN_YES &&
               (!mapping_lists(mapping, schema, name) || mapping_list_holds(mapping, schema, name, column));
    const Table *t = selection_find(c->selection, schema, name);
    return t != NULL && column_taken(t, column);
}

typedef enum Wanted { WANTED_NOT, WANTED_IF_THERE, WANTED } Wanted;

/* One that a table owns goes with it, whatever the patterns say of it, and *owner is the row that says so. */
static Wanted sequence_wanted(const Carrying *c, const char *schema, const char *name, int *owner) {
    Taken taken = mapping_takes(c->selection->mapping, schema, name);
    bool used = false;
    *owner = -1;
    for (int row = pg_row_of_name(c->users, schema, name); row_is(c->users, row, schema, name); row++) {
        if (pg_cell_bool(c->users, row, USER_OWNS))
            *owner = row;
        used = used || user_taken(c, row);
    }
    if (*owner >= 0 && !user_taken(c, *owner))
        return WANTED_NOT;
    if (*owner >= 0)
        return pg_row_of_name(c->existing, pg_cell(c->users, *owner, USER_TABLE_SCHEMA),
                              pg_cell(c->users, *owner, USER_TABLE)) >= 0
                   ? WANTED_IF_THERE
                   : WANTED;
    if (taken == TAKEN_YES)
        return WANTED;
    return used && taken == TAKEN_NO ? WANTED_IF_THERE : WANTED_NOT;
}

/* In the schema of the table that owns it. */
static MappedName sequence_target(const Carrying *c, const char *schema, const char *name, int owner) {
    const Mapping *mapping = c->selection->mapping;
    MappedName target = mapping_relation(mapping, c->arena, schema, name);
    if (owner >= 0)
        target.schema = mapping_relation(mapping, c->arena, pg_cell(c->users, owner, USER_TABLE_SCHEMA),
                                         pg_cell(c->users, owner, USER_TABLE))
                            .schema;
    return target;
}

static bool sequence_carry_one(Carrying *c, int row, Error *e) {
    const char *schema = pg_cell(c->from, row, 0), *name = pg_cell(c->from, row, 1);
    int owner;
    Wanted wanted = sequence_wanted(c, schema, name, &owner);
    if (wanted == WANTED_NOT)
        return true;
    MappedName target = sequence_target(c, schema, name, owner);
    int to_row = pg_row_of_name(c->to, target.schema, target.name);
    if (to_row < 0) {
        if (wanted == WANTED_IF_THERE)
            return true;
        fail(e, ERR_DATA, "sequence \"%s.%s\" is missing at the destination", target.schema, target.name);
        return fail_hint(e, "make it there as it is on the source");
    }
    SequenceAt there, here;
    if (!sequence_read(c->source, c->from, row, &there, e) ||
        !sequence_read(c->target, c->to, to_row, &here, e))
        return false;
    if (!sequence_moves(pg_cell_int(c->from, row, 3), pg_cell_int(c->to, to_row, 4), there, here))
        return true;
    ++*c->count;
    return sequence_set(c->target, c->to, to_row, there, e);
}

bool sequence_carry(Pg *source, Pg *target, const Selection *selection, const PGresult *existing, int *count,
                    Error *e) {
    Carrying c = {.source = source,
                  .target = target,
                  .selection = selection,
                  .existing = existing,
                  .arena = arena_new(),
                  .count = count};
    *count = 0;
    bool ok = (c.from = pg_query(source, SQL_SEQUENCES, 0, NULL, e)) != NULL &&
              (c.users = pg_query(source, SQL_USERS, 0, NULL, e)) != NULL &&
              (c.to = pg_query(target, SQL_SEQUENCES, 0, NULL, e)) != NULL;
    for (int row = 0; ok && row < PQntuples(c.from); row++)
        ok = sequence_carry_one(&c, row, e);
    PQclear(c.from);
    PQclear(c.users);
    PQclear(c.to);
    arena_free(c.arena);
    return ok;
}
