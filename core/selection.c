#include "core/selection.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "core/selection_tree.h"

/* Which tables: $1 state schema, $2 and $3 the heartbeat table; any of them may be NULL. */
#define SELECTED                                                                                             \
    " c.relkind = 'r' AND c.relpersistence IN ('p', 'u')"                                                    \
    " AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'walferry')"               \
    " AND n.nspname IS DISTINCT FROM $1::text AND c.relname NOT LIKE 'dts\\_%'"                              \
    " AND (n.nspname::text, c.relname::text) IS DISTINCT FROM ($2::text, $3::text)"                          \
    " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"    \
    "                 AND d.deptype = 'e')"

/* Four plain queries, put together here: the planner knows nothing about fresh catalogs, and one wrong guess
 * about a join of ten thousand tables with their indexes costs minutes. */
static const char TABLES_SQL[] =
    "SELECT c.oid, n.nspname, c.relname, c.relpersistence = 'u',"
    "  c.relhassubclass AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid),"
    "  c.relrowsecurity, pg_has_role(c.relowner, 'USAGE'),"
    "  has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), c.relreplident,"
    "  CASE WHEN c.reltuples > 0 THEN c.reltuples::bigint ELSE pg_stat_get_live_tuples(c.oid) END,"
    /* Never vacuumed: ask the disk, unless that would queue behind somebody's exclusive lock. */
    "  CASE WHEN c.relpages > 0 OR c.oid IN (SELECT l.relation FROM pg_locks l"
    "                                        WHERE l.mode = 'AccessExclusiveLock' AND l.relation IS NOT NULL)"
    "       THEN (c.relpages::bigint + coalesce(t.relpages, 0)) * current_setting('block_size')::bigint"
    "       ELSE pg_table_size(c.oid) END"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_class t ON t.oid = c.reltoastrelid"
    " WHERE" SELECTED " ORDER BY c.oid";
enum TableField {
    T_OID,
    T_SCHEMA,
    T_NAME,
    T_UNLOGGED,
    T_CHILDREN,
    T_SECURITY,
    T_OWNED,
    T_READABLE,
    T_SETTING,
    T_ROWS,
    T_BYTES
};

static const char COLUMNS_SQL[] =
    "SELECT c.oid, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid, a.attnotnull,"
    "  a.attgenerated <> '', a.attidentity = 'a', CASE WHEN s.nspname = 'pg_catalog' THEN '' ELSE s.nspname "
    "END,"
    "  CASE WHEN s.nspname = 'pg_catalog' THEN format_type(a.atttypid, a.atttypmod)"
    "       ELSE substr(format_type(a.atttypid, a.atttypmod), length(quote_ident(s.nspname)) + 2) END,"
    "  a.attstorage <> 'p', a.atttypmod"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace s ON s.oid = t.typnamespace"
    " WHERE" SELECTED " ORDER BY c.oid, a.attnum";
enum ColumnField {
    C_TABLE,
    C_NUMBER,
    C_NAME = TREE_COLUMN_NAME,
    C_TYPE_TEXT,
    C_TYPE,
    C_NOT_NULL,
    C_GENERATED,
    C_ALWAYS,
    C_TYPE_SCHEMA,
    C_TYPE_NAME,
    C_LARGE,
    C_MODIFIER
};

/* Indexes that count as an identity (trap A1), the best candidate first. A not-null constraint that is NOT
 * VALID (18) proves nothing. */
static const char INDEXES_SQL[] =
    "SELECT i.indrelid, x.relname, i.indisprimary, i.indisreplident,"
    "  array_to_string((i.indkey::int2[])[0:i.indnkeyatts - 1], ' ')"
    " FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid"
    " WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indislive"
    "   AND i.indpred IS NULL AND i.indexprs IS NULL"
    "   AND NOT EXISTS (SELECT FROM pg_attribute k WHERE k.attrelid = i.indrelid"
    "       AND k.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])"
    "       AND (NOT k.attnotnull OR k.attgenerated <> ''"
    "            OR EXISTS (SELECT FROM pg_constraint v WHERE v.conrelid = k.attrelid AND v.contype = 'n'"
    "                       AND NOT v.convalidated AND k.attnum = ANY (v.conkey))))"
    " ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, x.relname";
enum IndexField { I_TABLE, I_NAME, I_PRIMARY, I_CHOSEN, I_KEYS };

/* Trap B3: types whose binary form means the same on every server. Not: what carries or is an OID of an
 * object, xml (names its encoding), tsquery (no server reads its own binary form of an empty one), and from 17 on
 * interval, whose infinity an older server takes for a finite value. */
static const char TYPES_SQL[] =
    "WITH RECURSIVE plain AS (SELECT t.oid, t.typarray FROM pg_type t"
    " WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typname = ANY ('{"
    "bool,bytea,char,name,int8,int2,int4,text,oid,json,point,lseg,path,box,polygon,line,circle,float4,"
    "float8,money,macaddr,macaddr8,inet,cidr,bpchar,varchar,date,time,timetz,timestamp,timestamptz,interval,"
    "bit,varbit,numeric,uuid,tsvector,jsonb,jsonpath,pg_lsn,int4range,int8range,numrange,daterange,"
    "tsrange,tstzrange,int4multirange,int8multirange,nummultirange,datemultirange,tsmultirange,"
    "tstzmultirange}'::text[])"
    "  AND (t.typname <> 'interval' OR current_setting('server_version_num')::int < 170000)"
    "), safe(oid) AS ("
    " SELECT oid FROM plain UNION SELECT typarray FROM plain WHERE typarray <> 0"
    " UNION SELECT t.oid FROM pg_type t WHERE t.typtype = 'e'"
    " UNION SELECT t.oid FROM pg_extension x JOIN pg_depend d ON d.refobjid = x.oid AND d.deptype = 'e'"
    "       JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid"
    "       WHERE x.extname = 'citext' AND t.typname = 'citext'"
    "), known(oid) AS ("
    " SELECT oid FROM safe UNION"
    " SELECT t.oid FROM pg_type t JOIN known k ON k.oid = t.typbasetype WHERE t.typtype = 'd'"
    ") SELECT oid FROM known ORDER BY oid";

static const char BEGIN_SQL[] = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/* Of columns and their types: tens of thousands of tables have the same few. */
typedef struct Text {
    const char *text;
    UT_hash_handle hh;
} Text;

typedef struct Catalogs {
    PGresult *tables, *columns, *indexes, *types, *parents;
    int column, index; /* next rows that are not given to a table yet */
    Text *texts;
} Catalogs;

static void catalogs_clear(Catalogs *c) {
    Text *text, *next;
    HASH_ITER (hh, c->texts, text, next) {
        HASH_DEL(c->texts, text);
        free(text);
    }
    PQclear(c->tables);
    PQclear(c->columns);
    PQclear(c->indexes);
    PQclear(c->types);
    PQclear(c->parents);
}

static bool catalogs_read(Catalogs *c, Pg *source, const Config *cfg, Error *e) {
    const char *const params[] = {cfg->target.state_schema, cfg->source.heartbeat_schema,
                                  cfg->source.heartbeat_table};
    return (c->tables = pg_query(source, TABLES_SQL, 3, params, e)) != NULL &&
           (c->columns = pg_query(source, COLUMNS_SQL, 3, params, e)) != NULL &&
           (c->indexes = pg_query(source, INDEXES_SQL, 0, NULL, e)) != NULL &&
           (c->types = pg_query(source, TYPES_SQL, 0, NULL, e)) != NULL &&
           (c->parents = pg_query(source, TREE_PARENTS_SQL, 0, NULL, e)) != NULL;
}

static uint32_t cell_oid(const PGresult *rows, int row, int column) {
    return (uint32_t)pg_cell_int(rows, row, column);
}

static const char *cell_copy(Arena *arena, const PGresult *rows, int row, int column) {
    return arena_text(arena, slice_text(pg_cell(rows, row, column)));
}

/* In `arena`, once for all columns. */
static const char *cell_shared(Arena *arena, Catalogs *c, int row, int column) {
    const char *cell = pg_cell(c->columns, row, column);
    Text *text;
    HASH_FIND_STR(c->texts, cell, text);
    if (text == NULL) {
        text = memory_new(sizeof *text);
        text->text = cell_copy(arena, c->columns, row, column);
        HASH_ADD_KEYPTR(hh, c->texts, text->text, strlen(text->text), text);
    }
    return text->text;
}

static bool type_is_known(const PGresult *types, uint32_t type) {
    return tree_row_is_of(types, tree_row(types, type), type);
}

static Table table_read(Arena *arena, const PGresult *rows, int row) {
    Table t = {.oid = cell_oid(rows, row, T_OID),
               .schema = cell_copy(arena, rows, row, T_SCHEMA),
               .name = cell_copy(arena, rows, row, T_NAME),
               .unlogged = pg_cell_bool(rows, row, T_UNLOGGED),
               .has_children = pg_cell_bool(rows, row, T_CHILDREN),
               .row_security = pg_cell_bool(rows, row, T_SECURITY),
               .owned = pg_cell_bool(rows, row, T_OWNED),
               .readable = pg_cell_bool(rows, row, T_READABLE),
               .identity_setting = pg_cell(rows, row, T_SETTING)[0],
               .identity = TABLE_IDENTITY_NONE,
               .rows_estimated = pg_cell_int(rows, row, T_ROWS),
               .bytes = pg_cell_int(rows, row, T_BYTES)};
    t.full_name = tree_full_name(arena, t.schema, t.name);
    return t;
}

/* Attribute numbers ("1 3"), or NULL. */
typedef struct IdentityKeys {
    const char *used, *candidate;
} IdentityKeys;

/* The keys of the table's identity and of what could be one; takes the table's index rows. */
static IdentityKeys identity_read(Arena *arena, Table *t, Catalogs *c) {
    const PGresult *rows = c->indexes;
    const char *keys = NULL, *candidate = NULL, *candidate_keys = NULL;
    while (c->index < PQntuples(rows) && cell_oid(rows, c->index, I_TABLE) < t->oid)
        c->index++;
    for (; c->index < PQntuples(rows) && cell_oid(rows, c->index, I_TABLE) == t->oid; c->index++) {
        if (candidate == NULL) {
            candidate = pg_cell(rows, c->index, I_NAME);
            candidate_keys = pg_cell(rows, c->index, I_KEYS);
        }
        if ((t->identity_setting == 'd' && pg_cell_bool(rows, c->index, I_PRIMARY)) ||
            (t->identity_setting == 'i' && pg_cell_bool(rows, c->index, I_CHOSEN)))
            keys = pg_cell(rows, c->index, I_KEYS);
    }
    if (t->identity_setting == 'f')
        t->identity = TABLE_IDENTITY_FULL;
    else if (keys != NULL)
        t->identity = TABLE_IDENTITY_KEY;
    else if (candidate != NULL)
        t->identity_candidate = arena_text(arena, slice_text(candidate));
    return (IdentityKeys){keys, t->identity_candidate == NULL ? NULL : candidate_keys};
}

static bool keys_hold(const char *keys, int64_t number) {
    char *end;
    for (const char *at = keys; *at != '\0'; at = end)
        if (strtoll(at, &end, 10) == number)
            return true;
    return false;
}

/* `columns` has room for what is left; takes the table's column rows. */
static void columns_read(Arena *arena, Table *t, TableColumn *columns, Catalogs *c, IdentityKeys keys) {
    const PGresult *rows = c->columns;
    t->columns = columns;
    for (; c->column < PQntuples(rows) && cell_oid(rows, c->column, C_TABLE) == t->oid; c->column++) {
        int row = c->column;
        int64_t number = pg_cell_int(rows, row, C_NUMBER);
        bool in_key = keys.used != NULL && keys_hold(keys.used, number);
        uint32_t type = cell_oid(rows, row, C_TYPE);
        columns[t->column_count++] = (TableColumn){
            .name = cell_shared(arena, c, row, C_NAME),
            .number = (int)number,
            .type_text = cell_shared(arena, c, row, C_TYPE_TEXT),
            .type_schema = cell_shared(arena, c, row, C_TYPE_SCHEMA),
            .type_name = cell_shared(arena, c, row, C_TYPE_NAME),
            .type = type,
            .modifier = (int32_t)pg_cell_int(rows, row, C_MODIFIER),
            .not_null = pg_cell_bool(rows, row, C_NOT_NULL),
            .generated = pg_cell_bool(rows, row, C_GENERATED),
            .identity_always = pg_cell_bool(rows, row, C_ALWAYS),
            .identity_key = in_key || t->identity == TABLE_IDENTITY_FULL,
            .large = pg_cell_bool(rows, row, C_LARGE),
            .candidate_key = keys.candidate != NULL && keys_hold(keys.candidate, number),
            .binary_safe = type_is_known(c->types, type),
        };
    }
}

static int names_compare(const char *schema, const char *name, const Table *t) {
    int by_schema = strcmp(schema, t->schema);
    return by_schema != 0 ? by_schema : strcmp(name, t->name);
}

static int tables_compare(const void *a, const void *b) {
    const Table *left = a;
    return names_compare(left->schema, left->name, b);
}

static int targets_compare(const void *a, const void *b, void *context) {
    const Selection *s = context;
    const Table *left = &s->tables[*(const int *)a], *right = &s->tables[*(const int *)b];
    int by_schema = strcmp(left->target_schema, right->target_schema);
    int by_name = by_schema != 0 ? by_schema : strcmp(left->target_name, right->target_name);
    return by_name != 0 ? by_name : *(const int *)a - *(const int *)b;
}

static void targets_order(Selection *s) {
    for (int at = 0; at < s->count; at++)
        s->by_target[at] = at;
    Selection view = *s;
    qsort_r(s->by_target, (size_t)s->count, sizeof *s->by_target, targets_compare, &view);
}

static Selection *compile(Catalogs *c, const Config *cfg) {
    Arena *arena = arena_new();
    Selection *s = arena_alloc(arena, sizeof *s);
    size_t most = (size_t)PQntuples(c->tables) + 1;
    s->arena = arena;
    s->mapping = mapping_new(cfg);
    s->tables = arena_alloc(arena, most * sizeof *s->tables);
    s->by_target = arena_alloc(arena, most * sizeof *s->by_target);
    const Tree tree = {s->mapping, c->parents, c->columns};
    TableColumn *columns = arena_alloc(arena, (size_t)PQntuples(c->columns) * sizeof *columns + 1);
    for (int row = 0; row < PQntuples(c->tables); row++) {
        Table *t = &s->tables[s->count];
        TableColumn *own = columns + c->column;
        *t = table_read(arena, c->tables, row);
        IdentityKeys keys = identity_read(arena, t, c);
        t->insert_only = t->identity == TABLE_IDENTITY_NONE && cfg->identity == IDENTITY_INSERT_ONLY;
        columns_read(arena, t, own, c, keys);
        if (!tree_takes(&tree, t))
            continue;
        tree_map_table(&tree, arena, t);
        tree_map_columns(&tree, arena, t, own);
        s->count++;
    }
    /* One snapshot gave both lists. */
    assert(c->column == PQntuples(c->columns));
    qsort(s->tables, (size_t)s->count, sizeof *s->tables, tables_compare);
    targets_order(s);
    return s;
}

Selection *selection_load(Pg *source, const Config *cfg, Error *e) {
    /* All queries must see the same catalogs; a caller in a transaction has seen to that. */
    bool own = PQtransactionStatus(source->conn) == PQTRANS_IDLE;
    Catalogs catalogs = {0};
    Selection *s = NULL;
    if ((!own || pg_run(source, BEGIN_SQL, e)) && catalogs_read(&catalogs, source, cfg, e))
        s = compile(&catalogs, cfg);
    catalogs_clear(&catalogs);
    Error ignored;
    if (own)
        pg_run(source, "ROLLBACK", &ignored);
    return s;
}

void selection_free(Selection *s) {
    if (s == NULL)
        return;
    mapping_free(s->mapping);
    arena_free(s->arena);
}

const Table *selection_find(const Selection *s, const char *schema, const char *name) {
    int low = 0, high = s->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = names_compare(schema, name, &s->tables[middle]);
        if (order == 0)
            return &s->tables[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const Table *selection_find_target(const Selection *s, const char *schema, const char *name) {
    int low = 0, high = s->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const Table *t = &s->tables[s->by_target[middle]];
        int by_schema = strcmp(schema, t->target_schema);
        int order = by_schema != 0 ? by_schema : strcmp(name, t->target_name);
        if (order == 0)
            return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

MappedName selection_target(const Selection *s, Arena *arena, const char *schema, const char *name) {
    const Table *t = s == NULL ? NULL : selection_find(s, schema, name);
    if (t != NULL)
        return (MappedName){t->target_schema, t->target_name};
    return s == NULL ? (MappedName){schema, name} : mapping_relation(s->mapping, arena, schema, name);
}

const char *selection_target_column(const Selection *s, Arena *arena, const char *schema, const char *name,
                                    const char *column) {
    const Table *t = s == NULL ? NULL : selection_find(s, schema, name);
    for (int at = 0; t != NULL && at < t->column_count; at++)
        if (strcmp(t->columns[at].name, column) == 0)
            return t->columns[at].target_name;
    if (t != NULL)
        return mapping_column(s->mapping, arena, t->top_schema, t->top_name, column);
    return s == NULL ? column : mapping_column(s->mapping, arena, schema, name, column);
}

ApplyChoice selection_choice(const Selection *s, const char *schema, const char *name) {
    if (s == NULL)
        return (ApplyChoice){.takes = APPLY_ALL, .conflicts = CONFLICTS_STOP};
    const Table *t = selection_find(s, schema, name);
    return t != NULL ? t->choice : tree_choice_alone(s->mapping, schema, name);
}

void selection_keep(Selection *s, SelectionNameAt *name_at, const void *list) {
    bool *named = memory_array((size_t)s->count + 1, sizeof *named);
    const char *schema, *name;
    for (int row = 0; name_at(list, row, &schema, &name); row++) {
        const Table *table = selection_find(s, schema, name);
        if (table != NULL)
            named[table - s->tables] = true;
    }
    int kept = 0;
    for (int at = 0; at < s->count; at++)
        if (named[at])
            s->tables[kept++] = s->tables[at];
    s->count = kept;
    targets_order(s);
    free(named);
}
