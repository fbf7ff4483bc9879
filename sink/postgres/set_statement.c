#include "sink/postgres/set_statement.h"

static void write_separator(Writer *out, const char *separator, uint16_t number) {
    if (number > 1)
        writer_text(out, separator);
}

/* (SELECT unnest($1::text[]) AS c1, unnest($2::int4[]) AS c2) AS n: in a list of columns, functions that return sets are
 * read row by row, side by side; in FROM, each is first written to a store of its own (execSRF.c), which costs the
 * destination a fifth of a set's time. */
static void write_rows(Writer *out, const Plan *plan, const SetShape *shape) {
    uint16_t number = 0, columns = plan->rel->column_count;
    writer_text(out, "(SELECT ");
    for (uint16_t at = 0; at < 2 * columns; at++) {
        if (shape->forms[at] == SET_LEFT_OUT)
            continue;
        write_separator(out, ", ", ++number);
        const char *type = shape->forms[at] == SET_BINARY ? plan->columns[at % columns].type : "text";
        writer_format(out, "pg_catalog.unnest($%u::%s[]) AS c%u", number, type, number);
    }
    writer_text(out, ") AS n");
}

static void write_value(Writer *out, const Plan *plan, const SetShape *shape, uint16_t at, uint16_t number) {
    const PlanColumn *column = &plan->columns[at % plan->rel->column_count];
    writer_format(out, "n.c%u", number);
    if (shape->forms[at] == SET_TEXT)
        writer_format(out, "::%s", column->type);
}

/* A domain has no "=" of its own. */
static void write_base(Writer *out, const PlanColumn *column) {
    if (column->base != NULL)
        writer_format(out, "::%s", column->base);
}

static void write_found(Writer *out, const Plan *plan, const SetShape *shape, uint16_t number) {
    uint16_t columns = plan->rel->column_count;
    const char *and = " WHERE ";
    for (uint16_t column = 0; column < columns; column++) {
        const PlanColumn *to = &plan->columns[column];
        if (shape->forms[columns + column] == SET_LEFT_OUT)
            continue;
        writer_format(out, "%st.%s", and, to->quoted);
        write_base(out, to);
        writer_text(out, to->equal);
        write_value(out, plan, shape, (uint16_t)(columns + column), ++number);
        write_base(out, to);
        and = " AND ";
    }
}

static void write_update(Writer *out, const Plan *plan, const SetShape *shape) {
    uint16_t number = 0;
    writer_format(out, "UPDATE %s%s AS t SET ", plan->only ? "ONLY " : "", plan->table);
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (shape->forms[column] == SET_LEFT_OUT)
            continue;
        write_separator(out, ", ", ++number);
        writer_format(out, "%s = ", plan->columns[column].quoted);
        write_value(out, plan, shape, column, number);
    }
    if (number == 0) { /* nothing that was sent has changed: the rows must still be there */
        const char *same = plan_settable(plan);
        writer_format(out, "%s = t.%s", same, same);
    }
    writer_text(out, " FROM ");
    write_rows(out, plan, shape);
    write_found(out, plan, shape, number);
}

/* Returns whether one of them is GENERATED ALWAYS AS IDENTITY. */
static bool write_names(Writer *out, const Plan *plan, const SetShape *shape) {
    uint16_t number = 0;
    bool always = false;
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (shape->forms[column] == SET_LEFT_OUT)
            continue;
        write_separator(out, ", ", ++number);
        writer_text(out, plan->columns[column].quoted);
        always = always || plan->columns[column].always;
    }
    return always;
}

static void write_insert(Writer *out, const Plan *plan, const SetShape *shape) {
    uint16_t number = 0;
    writer_format(out, "INSERT INTO %s (", plan->table);
    bool always = write_names(out, plan, shape);
    writer_format(out, ")%s SELECT ", always ? " OVERRIDING SYSTEM VALUE" : "");
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (shape->forms[column] == SET_LEFT_OUT)
            continue;
        write_separator(out, ", ", ++number);
        write_value(out, plan, shape, column, number);
    }
    writer_text(out, " FROM ");
    write_rows(out, plan, shape);
}

void set_statement_write(Writer *out, const Plan *plan, const SetShape *shape) {
    switch (shape->kind) {
    case SET_DELETE:
        writer_format(out, "DELETE FROM %s%s AS t USING ", plan->only ? "ONLY " : "", plan->table);
        write_rows(out, plan, shape);
        write_found(out, plan, shape, 0);
        break;
    case SET_UPDATE: write_update(out, plan, shape); break;
    case SET_INSERT: write_insert(out, plan, shape); break;
    }
}

void set_statement_write_copy(Writer *out, const Plan *plan, const SetShape *shape) {
    bool binary = false;
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        binary = binary || shape->forms[column] == SET_BINARY;
    writer_format(out, "COPY %s (", plan->table);
    write_names(out, plan, shape);
    writer_format(out, ") FROM STDIN%s", binary ? " (FORMAT binary)" : "");
}
