#include "snapshot/sequence.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int names_compare(const PGresult *a, int row_a, const PGresult *b, int row_b) {
    int by_schema = strcmp(pg_cell(a, row_a, 0), pg_cell(b, row_b, 0));
    return by_schema != 0 ? by_schema : strcmp(pg_cell(a, row_a, 1), pg_cell(b, row_b, 1));
}

static bool sequence_carry_one(Pg *source, const PGresult *from, int row, Pg *target, const PGresult *to,
                               int to_row, int *count, Error *e) {
    SequenceAt there, here;
    if (!sequence_read(source, from, row, &there, e) || !sequence_read(target, to, to_row, &here, e))
        return false;
    if (!sequence_moves(pg_cell_int(from, row, 3), pg_cell_int(to, to_row, 4), there, here))
        return true;
    ++*count;
    return sequence_set(target, to, to_row, there, e);
}

static bool sequences_carry(Pg *source, const PGresult *from, Pg *target, const PGresult *to, int *count,
                            Error *e) {
    int to_row = 0;
    for (int row = 0; row < PQntuples(from); row++) {
        while (to_row < PQntuples(to) && names_compare(to, to_row, from, row) < 0)
            to_row++;
        if (to_row == PQntuples(to) || names_compare(to, to_row, from, row) != 0) {
            fail(e, ERR_DATA, "sequence \"%s.%s\" is missing at the destination", pg_cell(from, row, 0),
                 pg_cell(from, row, 1));
            return fail_hint(e, "make it there as it is on the source");
        }
        if (!sequence_carry_one(source, from, row, target, to, to_row, count, e))
            return false;
    }
    return true;
}

bool sequence_carry(Pg *source, Pg *target, int *count, Error *e) {
    *count = 0;
    PGresult *from = pg_query(source, SQL_SEQUENCES, 0, NULL, e);
    PGresult *to = from == NULL ? NULL : pg_query(target, SQL_SEQUENCES, 0, NULL, e);
    bool ok = to != NULL && sequences_carry(source, from, target, to, count, e);
    PQclear(from);
    PQclear(to);
    return ok;
}
