#include "sink/kafka/source_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sqlstate.h"
#include "sink/kafka/source_types.h"

#define KEY_OF(index) "(" index ".indkey::int2[])[0:" index ".indnkeyatts - 1]"
/* A constraint that is NOT VALID (18) proves nothing. */
#define NOT_NULL(column)                                                                                     \
    column ".attnotnull AND NOT EXISTS (SELECT FROM pg_constraint v WHERE v.conrelid = " column ".attrelid"  \
           " AND v.contype = 'n' AND NOT v.convalidated AND " column ".attnum = ANY (v.conkey))"
/* The key of the table $1. Generated columns make none: they are not in the stream. */
#define KEY                                                                                                  \
    "SELECT " KEY_OF(                                                                                        \
        "i") " AS columns FROM pg_index i WHERE i.indrelid = $1::oid AND i.indisvalid"                       \
             " AND (i.indisprimary OR i.indisunique AND i.indimmediate AND i.indpred IS NULL"                \
             "      AND i.indexprs IS NULL)"                                                                 \
             " AND NOT EXISTS (SELECT FROM pg_attribute k WHERE k.attrelid = i.indrelid"                     \
             "  AND k.attnum = ANY (" KEY_OF("i") ") AND (k.attgenerated <> '' OR NOT (" NOT_NULL(           \
                 "k") ")))"                                                                                  \
                      " ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1"
/* Its columns: where in the key each stands, and whether it is one that the identity has and the stream has not. */
static const char COLUMNS_SQL[] =
    "SELECT a.attname, a.atttypid, a.atttypmod, a.attnum,"
    " a.attgenerated <> '', " NOT_NULL(
        "a") " OR EXISTS (SELECT FROM pg_type t WHERE t.oid = a.atttypid AND t.typtype = 'd' AND "
             "t.typnotnull),"
             " CASE WHEN a.attgenerated = '' AND a.attidentity = '' THEN pg_get_expr(d.adbin, d.adrelid) END,"
             " array_position(k.columns, a.attnum),"
             " a.attgenerated <> '' AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid"
             "  AND (i.indisprimary OR i.indisreplident) AND a.attnum = ANY (" KEY_OF(
                 "i") "))"
                      " FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = "
                      "a.attnum"
                      " LEFT JOIN (" KEY ") k ON true"
                      " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
enum ColumnField {
    C_NAME,
    C_TYPE,
    C_MODIFIER,
    C_NUMBER,
    C_GENERATED,
    C_NOT_NULL,
    C_DEFAULT,
    C_PLACE,
    C_UNSEEN
};

/* To print a default the server locks the table, which somebody may be altering for hours. */
static const char SESSION_SQL[] = "SET lock_timeout = '5s'";

enum { CONNECT_MS = 10000, REST_MS = 30000 };

struct SourceFacts {
    const Config *cfg;
    Pg *pg;             /* NULL: not connected */
    SourceTypes *types; /* as long as the connection */
    int64_t used_ms;
};

/* A question, and what the catalogs said. */
typedef struct Facts {
    const Relation *rel;
    const TypeFacts **types;
    PGresult *rows;
    int *row_of; /* by column of the version; -1: not there any more */
} Facts;

/* ---- the connection ---- */

SourceFacts *source_facts_new(const Config *cfg) {
    SourceFacts *f = memory_new(sizeof *f);
    f->cfg = cfg;
    return f;
}

static void leave(SourceFacts *f) {
    pg_close(f->pg);
    source_types_free(f->types);
    f->pg = NULL;
    f->types = NULL;
}

void source_facts_free(SourceFacts *f) {
    if (f == NULL)
        return;
    leave(f);
    free(f);
}

void source_facts_rest(SourceFacts *f, int64_t now_ms) {
    if (f->pg != NULL && now_ms - f->used_ms >= REST_MS)
        leave(f);
}

static bool connected(SourceFacts *f, Error *e) {
    if (f->pg != NULL)
        return true;
    PgAddress to = {.dsn = f->cfg->source.dsn, .side = "source", .job = f->cfg->name, .options = SESSION_SQL};
    f->pg = pg_open(&to, CONNECT_MS, e);
    if (f->pg == NULL)
        return false;
    f->types = source_types_new();
    return true;
}

/* ---- columns ---- */

/* The search begins behind the row that was found last: both are in the same order. */
static int row_find(const PGresult *rows, const char *name, int *from) {
    int count = PQntuples(rows);
    for (int step = 0; step < count; step++) {
        int row = (*from + step) % count;
        if (strcmp(pg_cell(rows, row, C_NAME), name) == 0) {
            *from = row + 1;
            return row;
        }
    }
    return -1;
}

/* False and e: the source did not answer. `rows` is the caller's to clear. */
static bool facts_ask(SourceFacts *f, Arena *arena, Facts *facts, Error *e) {
    char oid[16];
    int from = 0;
    const char *const params[] = {oid};
    snprintf(oid, sizeof oid, "%u", facts->rel->oid);
    facts->rows = pg_query(f->pg, COLUMNS_SQL, 1, params, e);
    if (facts->rows == NULL)
        return false;
    facts->row_of = arena_alloc(arena, (facts->rel->column_count + 1u) * sizeof *facts->row_of);
    for (uint16_t column = 0; column < facts->rel->column_count; column++)
        facts->row_of[column] = row_find(facts->rows, facts->rel->columns[column].name, &from);
    facts->types = source_types_of(f->types, f->pg, arena, facts->rel, e);
    return facts->types != NULL;
}

/* The default of a column that has another type by now says nothing about this one. */
static const char *default_of(const PGresult *rows, int row, const Column *column) {
    bool same = pg_cell_int(rows, row, C_TYPE) == column->type &&
                pg_cell_int(rows, row, C_MODIFIER) == column->modifier;
    return same && !pg_cell_null(rows, row, C_DEFAULT) ? pg_cell(rows, row, C_DEFAULT) : NULL;
}

static const char *text_kept(Arena *arena, const char *text) {
    return text == NULL ? NULL : arena_text(arena, slice_text(text));
}

static EventType column_type(Arena *arena, const Facts *facts, uint16_t at) {
    const Column *column = &facts->rel->columns[at];
    const TypeFacts *type = facts->types[at];
    int row = facts->row_of[at];
    EventType out = {.oid = column->type, .modifier = column->modifier};
    if (row >= 0) {
        out.not_null = pg_cell_bool(facts->rows, row, C_NOT_NULL);
        out.default_expression = text_kept(arena, default_of(facts->rows, row, column));
    }
    if (type == NULL)
        return out;
    out.name = text_kept(arena, type->name);
    if (type->label_count == 0)
        return out;
    const char **labels = arena_alloc(arena, (size_t)type->label_count * sizeof *labels);
    for (int label = 0; label < type->label_count; label++)
        labels[label] = text_kept(arena, type->labels[label]);
    out.label_count = type->label_count;
    out.labels = labels;
    return out;
}

static const Kind *column_kind(Arena *arena, const Facts *facts, uint16_t at, KindOptions options) {
    /* Nobody knows any more what its values mean: they stay the text that they are. */
    static const TypeFacts text = {.oid = 25, .name = "text", .sort = 'b', .delimiter = ','};
    const Column *column = &facts->rel->columns[at];
    const TypeFacts *type = facts->types[at];
    ColumnFacts known = {.type = type == NULL ? &text : type, .modifier = column->modifier};
    int row = facts->row_of[at];
    if (type == NULL)
        log_warn("the type of column \"%s\" of table \"%s.%s\" was dropped on the source: what the stream "
                 "still has of it is written as text",
                 column->name, facts->rel->schema, facts->rel->name);
    if (row >= 0) {
        known.not_null = pg_cell_bool(facts->rows, row, C_NOT_NULL);
        known.default_expression = default_of(facts->rows, row, column);
    }
    return kind_of(arena, &known, options);
}

/* ---- numbers ---- */

static bool number_is_taken(const Facts *facts, const int16_t *numbers, int16_t number) {
    for (uint16_t column = 0; column < facts->rel->column_count; column++)
        if (numbers[column] == number)
            return true;
    return false;
}

/* A live column has it whose name the version does not know. It may be the same one, renamed, when its type is the same. */
static bool number_is_anothers(const Facts *facts, const Column *column, int16_t number) {
    for (int row = 0; row < PQntuples(facts->rows); row++)
        if (pg_cell_int(facts->rows, row, C_NUMBER) == number)
            return pg_cell_int(facts->rows, row, C_TYPE) != column->type ||
                   pg_cell_bool(facts->rows, row, C_GENERATED);
    return false;
}

/* The first that is free behind its neighbour's: dropped columns keep their numbers, and new ones stand behind all. */
static int16_t number_guess(const Facts *facts, const int16_t *numbers, uint16_t at) {
    int16_t number = at == 0 ? 1 : (int16_t)(numbers[at - 1] + 1);
    while (number_is_taken(facts, numbers, number) ||
           number_is_anothers(facts, &facts->rel->columns[at], number))
        number++;
    return number;
}

/* The attnum of each: what was dropped in front of a column does not move it. */
static const int16_t *numbers_of(Arena *arena, const Facts *facts) {
    int16_t *numbers = arena_alloc(arena, (facts->rel->column_count + 1u) * sizeof *numbers);
    for (uint16_t column = 0; column < facts->rel->column_count; column++) {
        int row = facts->row_of[column];
        numbers[column] = row < 0 ? 0 : (int16_t)pg_cell_int(facts->rows, row, C_NUMBER);
    }
    for (uint16_t column = 0; column < facts->rel->column_count; column++)
        if (numbers[column] == 0)
            numbers[column] = number_guess(facts, numbers, column);
    return numbers;
}

/* ---- the key ---- */

static int key_place(const Facts *facts, uint16_t column) {
    int row = facts->row_of[column];
    return row < 0 ? 0 : (int)pg_cell_int(facts->rows, row, C_PLACE);
}

/* The catalogs' key, in its order, unless the version lacks a column of it. */
static uint16_t key_of_catalogs(const Facts *facts, uint16_t *key) {
    uint16_t count = 0, wanted = 0;
    for (int row = 0; row < PQntuples(facts->rows); row++)
        wanted = (uint16_t)(wanted + (pg_cell_null(facts->rows, row, C_PLACE) ? 0 : 1));
    for (uint16_t column = 0; column < facts->rel->column_count; column++) {
        uint16_t at = count;
        if (key_place(facts, column) == 0)
            continue;
        for (; at > 0 && key_place(facts, key[at - 1]) > key_place(facts, column); at--)
            key[at] = key[at - 1];
        key[at] = column;
        count++;
    }
    return count == wanted ? count : 0;
}

/* What the Relation flags: under FULL that is every column, and no key (trap C1). Of an identity with a column that is
 * not in the stream it is only a part. */
static uint16_t key_of_identity(const Facts *facts, uint16_t *key) {
    uint16_t count = 0;
    if (facts->rel->identity != 'd' && facts->rel->identity != 'i')
        return 0;
    for (uint16_t column = 0; column < facts->rel->column_count; column++)
        if (facts->rel->columns[column].key)
            key[count++] = column;
    for (int row = 0; row < PQntuples(facts->rows); row++) {
        bool unseen = pg_cell_bool(facts->rows, row, C_UNSEEN);
        for (uint16_t column = 0; unseen && column < facts->rel->column_count; column++)
            unseen = facts->row_of[column] != row;
        if (unseen)
            return 0;
    }
    return count;
}

static bool key_is_whole(const EventTable *table) {
    for (uint16_t at = 0; at < table->key_count; at++)
        if (table->columns[table->key[at]].kind == NULL)
            return false;
    return table->key_count > 0;
}

/* A DELETE carries what an identity by index has, and nothing else, whatever is the primary key. */
static bool key_comes_along(const Facts *facts, const EventTable *table) {
    for (uint16_t at = 0; facts->rel->identity == 'i' && at < table->key_count; at++)
        if (!facts->rel->columns[table->key[at]].key)
            return false;
    return true;
}

static void key_choose(Arena *arena, const Facts *facts, EventTable *table) {
    uint16_t *key = arena_alloc(arena, (facts->rel->column_count + 1u) * sizeof *key);
    table->key = key;
    table->key_count = key_of_catalogs(facts, key);
    if (key_is_whole(table) && key_comes_along(facts, table))
        return;
    table->key_count = key_of_identity(facts, key);
    if (!key_is_whole(table))
        table->key_count = 0;
}

/* ---- the table ---- */

static const EventTable *table_make(Arena *arena, const Facts *facts, const char *topic, bool with_types,
                                    KindOptions options) {
    const Relation *rel = facts->rel;
    EventTable *table = arena_alloc(arena, sizeof *table);
    EventColumn *columns = arena_alloc(arena, (rel->column_count + 1u) * sizeof *columns);
    EventType *types = with_types ? arena_alloc(arena, (rel->column_count + 1u) * sizeof *types) : NULL;
    for (uint16_t column = 0; column < rel->column_count; column++) {
        columns[column] =
            (EventColumn){rel->columns[column].name, column_kind(arena, facts, column, options)};
        if (types != NULL)
            types[column] = column_type(arena, facts, column);
    }
    *table = (EventTable){.topic = topic,
                          .schema = rel->schema,
                          .name = rel->name,
                          .column_count = rel->column_count,
                          .columns = columns,
                          .types = types,
                          .numbers = numbers_of(arena, facts)};
    key_choose(arena, facts, table);
    return table;
}

static void failed(const Relation *rel, Error *e) {
    fail_context(e, "the catalogs' facts of table \"%s.%s\"", rel->schema, rel->name);
    if (sqlstate_is(e, SQLSTATE_LOCK_NOT_AVAILABLE))
        fail_hint(e, "a session at the source holds an exclusive lock on the table: see its pg_locks");
}

const EventTable *source_facts_table(SourceFacts *f, Arena *arena, const Relation *rel, const char *topic,
                                     KindOptions options, Error *e) {
    if (!connected(f, e))
        return NULL;
    Arena *scratch = arena_new();
    Facts facts = {.rel = rel};
    const EventTable *table = NULL;
    if (facts_ask(f, scratch, &facts, e))
        table = table_make(arena, &facts, topic, f->cfg->kafka.schema_changes, options);
    else
        failed(rel, e);
    PQclear(facts.rows);
    arena_free(scratch);
    f->used_ms = clock_ms();
    if (table == NULL)
        leave(f);
    return table;
}
