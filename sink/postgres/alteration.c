#include "sink/postgres/alteration.h"

#include <jansson.h>
#include <string.h>

const char ALTERED_COLUMNS_SQL[] =
    "SELECT a.attname, a.attnum, a.atttypid, a.atttypmod FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";
enum { CELL_NAME, CELL_NUMBER, CELL_TYPE, CELL_MODIFIER };

/* Below, OIDs mean the same on every server. */
enum { FIRST_OID_OF_USERS = 16384 };

static int row_of(const AlteredThere *there, const char *column) {
    const char *name = there->column_name(there->context, column);
    for (int row = 0; row < PQntuples(there->columns); row++)
        if (strcmp(pg_cell(there->columns, row, CELL_NAME), name) == 0)
            return row;
    return -1;
}

bool alteration_name_is_there(const AlteredThere *there) {
    if (there->oid == 0)
        return false;
    return there->oid == there->record->target_oid || !there->old_name_there;
}

/* A type of the source's users has another OID here, if any: one of the users' here is taken for it. */
static bool type_is_there(const AlteredThere *there, int row, const DefinedColumn *column) {
    uint32_t type = (uint32_t)pg_cell_int(there->columns, row, CELL_TYPE);
    if (column->type >= FIRST_OID_OF_USERS)
        return type >= FIRST_OID_OF_USERS;
    return type == column->type && pg_cell_int(there->columns, row, CELL_MODIFIER) == column->modifier;
}

/* The column that the record knows by the old name has the new one. */
static bool is_renamed_there(const AlteredThere *there, const Alteration *a) {
    int now = row_of(there, a->after->name);
    if (now < 0)
        return false;
    if (row_of(there, a->before->name) < 0)
        return true;
    json_t *numbers =
        there->record->target_columns == NULL ? NULL : json_loads(there->record->target_columns, 0, NULL);
    json_t *number = json_object_get(numbers, there->column_name(there->context, a->before->name));
    bool same = json_integer_value(number) == pg_cell_int(there->columns, now, CELL_NUMBER);
    json_decref(numbers);
    return same;
}

bool alteration_is_there(const AlteredThere *there, const Alteration *a) {
    int row = a->after == NULL ? -1 : row_of(there, a->after->name);
    switch (a->kind) {
    case ALTERED_DROPPED: return row_of(there, a->before->name) < 0;
    case ALTERED_RENAMED: return is_renamed_there(there, a);
    case ALTERED_RETYPED:
    case ALTERED_ADDED: return row >= 0 && type_is_there(there, row, a->after);
    }
    return false;
}

void alteration_tell(Writer *out, const Alteration *a, const char *type) {
    switch (a->kind) {
    case ALTERED_DROPPED: writer_format(out, "dropped \"%s\"", a->before->name); break;
    case ALTERED_RENAMED:
        writer_format(out, "renamed \"%s\" to \"%s\"%s", a->before->name, a->after->name,
                      a->doubtful ? " (or dropped the one and added the other)" : "");
        break;
    case ALTERED_RETYPED: writer_format(out, "changed \"%s\" to %s", a->after->name, type); break;
    case ALTERED_ADDED: writer_format(out, "added \"%s\" %s", a->after->name, type); break;
    }
}

static void column_write(Writer *out, Pg *pg, const AlteredThere *there, const DefinedColumn *column) {
    pg_write_name(out, pg, there->column_name(there->context, column->name));
}

void alteration_statement(Writer *out, Pg *pg, const AlteredThere *there, const Alteration *a,
                          const char *type) {
    writer_text(out, "ALTER TABLE ");
    pg_write_table(out, pg, there->schema, there->name);
    switch (a->kind) {
    case ALTERED_DROPPED:
        writer_text(out, " DROP COLUMN ");
        column_write(out, pg, there, a->before);
        break;
    case ALTERED_RENAMED:
        writer_text(out, " RENAME COLUMN ");
        column_write(out, pg, there, a->before);
        writer_text(out, " TO ");
        column_write(out, pg, there, a->after);
        break;
    case ALTERED_RETYPED:
        writer_text(out, " ALTER COLUMN ");
        column_write(out, pg, there, a->after);
        writer_format(out, " TYPE %s", type);
        break;
    case ALTERED_ADDED:
        writer_text(out, " ADD COLUMN ");
        column_write(out, pg, there, a->after);
        writer_format(out, " %s", type);
        break;
    }
}
