#include "sink/postgres/statement.h"

#include <assert.h>

/* A parameter with its column's type: without the cast a whole-row match could not be typed, and the planner
 * would have to guess in a SELECT list. */
static void write_cast(Writer *out, const PlanColumn *column, uint16_t number) {
    writer_format(out, "$%u::%s", number, column->type);
}

static const char *only(const Plan *plan) {
    return plan->only ? "ONLY " : "";
}

/* The casts: beside "=" alone a parameter of an OID alias would be an oid, one of a composite type no type at all; and a
 * domain has no "=" of its own. */
static void write_equal(Writer *out, const PlanColumn *column, uint16_t number) {
    const char *type = column->base == NULL ? column->type : column->base;
    writer_text(out, column->quoted);
    if (column->base != NULL)
        writer_format(out, "::%s", column->base);
    writer_format(out, "%s$%u::%s", column->equal, number, type);
}

/* The condition that finds the old row; returns the last parameter's number. */
static uint16_t write_key(Writer *out, const Plan *plan, uint16_t number) {
    const char *and = "";
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (!plan->columns[column].key)
            continue;
        writer_text(out, and);
        write_equal(out, &plan->columns[column], ++number);
        and = " AND ";
    }
    return number;
}

/* The parameter that carries this column in a whole-row match that begins behind `number`. */
static uint16_t parameter_of(const Plan *plan, int wanted, uint16_t number) {
    for (int column = 0; column <= wanted; column++)
        number = (uint16_t)(number + (plan->columns[column].writable ? 1 : 0));
    return number;
}

/* Every partition has a ctid of its own. */
static const char *place_of(const Plan *plan) {
    return plan->partitioned ? "tableoid, ctid" : "ctid";
}

static const char *image_of(const PlanColumn *column) {
    return column->by_text ? "::text" : "";
}

/* Image equality (trap B9): json and xml have no "=", and "=" would take a row that is only equal in value.
 * Casts to record keep the parser from reading ROW *= ROW as a row comparison. */
static uint16_t write_candidate(Writer *out, const Plan *plan, int finder, uint16_t number) {
    writer_format(out, "SELECT %s FROM %s%s WHERE ", place_of(plan), only(plan), plan->table);
    if (finder >= 0) { /* equal images are equal values: an index may look for them */
        write_equal(out, &plan->columns[finder], parameter_of(plan, finder, number));
        writer_text(out, " AND ");
    }
    writer_text(out, "ROW(");
    const char *comma = "";
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (!plan->columns[column].writable)
            continue;
        writer_format(out, "%s%s%s", comma, plan->columns[column].quoted, image_of(&plan->columns[column]));
        comma = ", ";
    }
    writer_text(out, ")::record *= ROW(");
    comma = "";
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (!plan->columns[column].writable)
            continue;
        writer_text(out, comma);
        write_cast(out, &plan->columns[column], ++number);
        writer_text(out, image_of(&plan->columns[column]));
        comma = ", ";
    }
    writer_text(out, ")::record LIMIT 1");
    return number;
}

/* Of rows that are all alike a prepared transaction may hold the first, and its outcome would come behind what waits for
 * it: one that nobody has locked will do as well. */
static uint16_t write_whole_row(Writer *out, const Plan *plan, int finder, uint16_t number) {
    writer_format(out, plan->partitioned ? "(%s) = (" : "%s = (", place_of(plan));
    if (plan->beside_prepared) {
        writer_format(out, "SELECT %s FROM (SELECT * FROM (", place_of(plan));
        write_candidate(out, plan, finder, number);
        writer_text(out, " FOR UPDATE SKIP LOCKED) AS unlocked UNION ALL (");
    }
    number = write_candidate(out, plan, finder, number);
    writer_text(out, plan->beside_prepared ? ")) AS candidate LIMIT 1)" : ")");
    return number;
}

static uint16_t write_where(Writer *out, const Plan *plan, int finder, uint16_t number) {
    assert(plan->where != PLAN_WHERE_NONE);
    writer_text(out, " WHERE ");
    return plan->where == PLAN_WHERE_KEY ? write_key(out, plan, number)
                                         : write_whole_row(out, plan, finder, number);
}

static void write_names(Writer *out, const Plan *plan, const bool *written) {
    const char *comma = "";
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (!written[column])
            continue;
        writer_format(out, "%s%s", comma, plan->columns[column].quoted);
        comma = ", ";
    }
}

static bool any_always(const Plan *plan, const bool *written) {
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        if (written[column] && plan->columns[column].always)
            return true;
    return false;
}

static uint16_t write_insert(Writer *out, const Plan *plan, const Shape *shape) {
    uint16_t number = 0;
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        number = (uint16_t)(number + (shape->written[column] ? 1 : 0));
    if (number == 0) {
        writer_format(out, "INSERT INTO %s DEFAULT VALUES", plan->table);
        return 0;
    }
    writer_format(out, "INSERT INTO %s (", plan->table);
    write_names(out, plan, shape->written);
    writer_format(out, ")%s VALUES (", any_always(plan, shape->written) ? " OVERRIDING SYSTEM VALUE" : "");
    for (uint16_t parameter = 1; parameter <= number; parameter++)
        writer_format(out, parameter == 1 ? "$%u" : ", $%u", parameter);
    writer_text(out, ")");
    return number;
}

static uint16_t write_update(Writer *out, const Plan *plan, const Shape *shape) {
    uint16_t number = 0;
    writer_format(out, "UPDATE %s%s SET ", only(plan), plan->table);
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (!shape->written[column])
            continue;
        number++;
        writer_format(out, "%s%s = $%u", number == 1 ? "" : ", ", plan->columns[column].quoted, number);
    }
    if (number == 0) { /* nothing that can be written has changed: the row must still be there */
        const char *same = plan_settable(plan);
        writer_format(out, "%s = %s", same, same);
    }
    return write_where(out, plan, shape->finder, number);
}

/* Whether every column of the unique index has a parameter. */
static bool is_whole(const Plan *plan, const Shape *shape, const PlanUnique *unique) {
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        if (unique->columns[column] && !shape->written[column])
            return false;
    return true;
}

/* " OR (a = $1::int4 AND b = $2::text)" for each unique index whose new value is known: the rows that the new row would
 * meet. The first stands behind `before`; returns whether there was one. */
static bool write_met(Writer *out, const Plan *plan, const Shape *shape, const char *before) {
    bool any = false;
    for (const PlanUnique *unique = plan->uniques; unique != NULL; unique = unique->next) {
        uint16_t parameter = 0;
        const char *and = any ? " OR (" : before;
        if (!is_whole(plan, shape, unique))
            continue;
        for (uint16_t column = 0; column < plan->rel->column_count; column++) {
            const PlanColumn *to = &plan->columns[column];
            parameter = (uint16_t)(parameter + (shape->written[column] ? 1 : 0));
            if (!unique->columns[column])
                continue;
            writer_text(out, and);
            write_equal(out, to, parameter);
            and = " AND ";
        }
        writer_text(out, ")");
        any = true;
    }
    return any;
}

static uint16_t written_count(const Plan *plan, const Shape *shape) {
    uint16_t written = 0;
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        written = (uint16_t)(written + (shape->written[column] ? 1 : 0));
    return written;
}

/* An ALWAYS identity column cannot be set (trap B9): the row is deleted and inserted again, in one statement,
 * so that what is not written comes from the row itself. */
static uint16_t write_reinsert(Writer *out, const Plan *plan, const Shape *shape) {
    uint16_t written = written_count(plan, shape);
    bool all[COLUMNS_MAX];
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        all[column] = plan->columns[column].writable;
    writer_format(out, "WITH old AS (DELETE FROM %s%s", only(plan), plan->table);
    uint16_t number = write_where(out, plan, shape->finder, written);
    writer_text(out, " RETURNING *)");
    if (shape->kind == SHAPE_REINSERT_OVER) {
        writer_format(out, ", gone AS (DELETE FROM %s%s WHERE NOT (", only(plan), plan->table);
        write_key(out, plan, written);
        writer_text(out, write_met(out, plan, shape, ") AND ((") ? ")" : ") AND false");
        writer_text(out, " RETURNING 1)");
    }
    writer_format(out, " INSERT INTO %s (", plan->table);
    write_names(out, plan, all);
    for (uint16_t column = 0; column < plan->beside_count; column++)
        writer_format(out, ", %s", plan->beside[column]);
    writer_text(out, ") OVERRIDING SYSTEM VALUE SELECT ");
    uint16_t parameter = 0;
    const char *comma = "";
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (!all[column])
            continue;
        writer_text(out, comma);
        comma = ", ";
        if (shape->written[column])
            write_cast(out, &plan->columns[column], ++parameter);
        else
            writer_format(out, "old.%s", plan->columns[column].quoted);
    }
    for (uint16_t column = 0; column < plan->beside_count; column++)
        writer_format(out, ", old.%s", plan->beside[column]);
    writer_text(out, " FROM old");
    if (shape->kind == SHAPE_REINSERT_OVER)
        writer_text(out, ", (SELECT pg_catalog.count(*) FROM gone) AS counted");
    return number;
}

/* The source's row wins: what it meets goes, in one statement with it. That "gone" is counted makes the rows go before
 * the new one comes. */
static uint16_t write_replace(Writer *out, const Plan *plan, const Shape *shape) {
    uint16_t number = written_count(plan, shape), parameter = 0;
    bool old = shape->kind == SHAPE_REPLACE_OLD;
    writer_format(out, "WITH gone AS (DELETE FROM %s%s WHERE ", only(plan), plan->table);
    if (old) {
        writer_text(out, "(");
        number = write_key(out, plan, number);
        writer_text(out, ")");
    }
    if (!write_met(out, plan, shape, old ? " OR (" : "(") && !old)
        writer_text(out, "false");
    writer_format(out, " RETURNING 1) INSERT INTO %s (", plan->table);
    write_names(out, plan, shape->written);
    writer_text(out, ") OVERRIDING SYSTEM VALUE SELECT ");
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (!shape->written[column])
            continue;
        writer_text(out, parameter == 0 ? "" : ", ");
        write_cast(out, &plan->columns[column], ++parameter);
    }
    writer_text(out, " FROM (SELECT pg_catalog.count(*) FROM gone) AS counted");
    return number;
}

static uint16_t write_delete(Writer *out, const Plan *plan, const Shape *shape) {
    writer_format(out, "DELETE FROM %s%s", only(plan), plan->table);
    return write_where(out, plan, shape->finder, 0);
}

uint16_t statement_write(Writer *out, const Plan *plan, const Shape *shape) {
    switch (shape->kind) {
    case SHAPE_INSERT: return write_insert(out, plan, shape);
    case SHAPE_UPDATE: return write_update(out, plan, shape);
    case SHAPE_REINSERT:
    case SHAPE_REINSERT_OVER: return write_reinsert(out, plan, shape);
    case SHAPE_DELETE: return write_delete(out, plan, shape);
    case SHAPE_REPLACE:
    case SHAPE_REPLACE_OLD: return write_replace(out, plan, shape);
    }
    return 0;
}
