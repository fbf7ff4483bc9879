#include "sink/postgres/apply_ddl.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "core/fault.h"
#include "core/log.h"
#include "sink/postgres/alteration.h"
#include "sink/postgres/apply_plan.h"
#include "sink/postgres/catchup.h"
#include "sink/postgres/ddl_message.h"

#define PREFIX "dts_ddl."

/* As for TRUNCATE: long enough for readers to leave. */
static const char SQL_WAIT[] = "SET LOCAL lock_timeout = '10s'";
static const char SQL_OVER[] = "SET LOCAL lock_timeout = 0";
/* By its OID at the destination: the table, and the one that its columns are changed of. */
static const char SQL_FIND[] =
    "SELECT n.nspname, c.relname, c.relispartition, tn.nspname, t.relname FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_class t ON t.oid = CASE WHEN c.relispartition"
    "   THEN pg_catalog.pg_partition_root(c.oid)::oid ELSE c.oid END"
    " JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace WHERE c.oid = $1::oid";
/* What ALTERED_COLUMNS_SQL says, by OID. */
static const char SQL_COLUMNS[] =
    "SELECT a.attname, a.attnum, a.atttypid, a.atttypmod, a.attnotnull,"
    " pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attribute a"
    " LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped";
/* Whose index it is. */
static const char SQL_INDEX[] =
    "SELECT i.indrelid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid WHERE n.nspname = $1 AND c.relname = $2";
enum { CELL_NAME, CELL_NUMBER, CELL_TYPE, CELL_MODIFIER, CELL_NOT_NULL, CELL_DEFAULT };

enum { SQL_LIMIT = 1 << 20 };

typedef struct Ddl {
    ApplySession *s;
    Pg *pg;
    TableRecord *record;
    const DdlMessage *message;
    Arena *arena;
    const Definition *before, *after; /* without generated columns */
    Writer top;                       /* the table whose columns are changed, quoted */
    char oid[16];
    bool partition;
    PGresult *columns;
    AlteredThere there;
} Ddl;

bool apply_is_ddl(const ApplySession *s, const Change *change) {
    if (change->kind != CHANGE_MESSAGE || s->options->cfg->ddl != DDL_APPLY)
        return false;
    size_t length = strlen(PREFIX);
    Slice prefix = change->message.prefix;
    return prefix.len > length && memcmp(prefix.at, PREFIX, length) == 0 &&
           slice_is((Slice){prefix.at + length, prefix.len - length}, s->options->cfg->name);
}

static const char *column_name(void *ddl, const char *column) {
    const Ddl *d = ddl;
    const Definition *now = d->message->definition;
    return selection_target_column(d->s->options->selection, d->arena, now->schema, now->name, column);
}

static bool run(const Ddl *d, Writer *sql, Error *e) {
    bool ok = pg_run(d->pg, writer_string(sql), e);
    if (ok)
        log_info("at the target: %s", writer_string(sql));
    writer_free(sql);
    return ok;
}

/* What is refused is told, and takes nothing with it. */
static bool attempt(Pg *pg, Writer *sql, bool *done, Error *e) {
    Error refused;
    bool ok = pg_attempt(pg, writer_string(sql), &refused, e);
    *done = ok && refused.kind == ERR_NONE;
    if (ok && !*done)
        log_warn("left out at the target: %s (%s)", writer_string(sql), refused.text);
    writer_free(sql);
    return ok;
}

static Writer alter(const Ddl *d, const char *what, const char *column) {
    Writer sql = writer_new(SQL_LIMIT);
    writer_format(&sql, "ALTER TABLE %.*s %s COLUMN ", (int)d->top.len, d->top.at, what);
    pg_write_name(&sql, d->pg, column);
    return sql;
}

/* ---- the table ---- */

static bool name_settle(Ddl *d, const char *schema, const char *name, Error *e) {
    MappedName to = selection_target(d->s->options->selection, d->arena, d->message->definition->schema,
                                     d->message->definition->name);
    d->there.schema = to.schema;
    d->there.name = to.name;
    bool ok = true;
    Writer sql = writer_new(SQL_LIMIT);
    if (strcmp(schema, to.schema) != 0) {
        writer_text(&sql, "ALTER TABLE ");
        pg_write_table(&sql, d->pg, schema, name);
        writer_text(&sql, " SET SCHEMA ");
        pg_write_name(&sql, d->pg, to.schema);
        ok = run(d, &sql, e);
        sql = writer_new(SQL_LIMIT);
    }
    if (ok && strcmp(name, to.name) != 0) {
        writer_text(&sql, "ALTER TABLE ");
        pg_write_table(&sql, d->pg, to.schema, name);
        writer_text(&sql, " RENAME TO ");
        pg_write_name(&sql, d->pg, to.name);
        return run(d, &sql, e);
    }
    writer_free(&sql);
    return ok;
}

static bool table_settle(Ddl *d, Error *e) {
    const char *const params[] = {d->oid};
    snprintf(d->oid, sizeof d->oid, "%u", d->record->target_oid);
    PGresult *found = pg_query(d->pg, SQL_FIND, 1, params, e);
    bool ok = found != NULL &&
              (PQntuples(found) == 1 ||
               fail(e, ERR_DATA, "table \"%s.%s\" is not the one at the target that was loaded",
                    d->record->schema, d->record->name)) &&
              name_settle(d, pg_cell(found, 0, 0), pg_cell(found, 0, 1), e);
    if (ok) {
        d->partition = pg_cell_bool(found, 0, 2);
        pg_write_table(&d->top, d->pg, d->partition ? pg_cell(found, 0, 3) : d->there.schema,
                       d->partition ? pg_cell(found, 0, 4) : d->there.name);
    }
    PQclear(found);
    return ok;
}

/* ---- its columns ---- */

static bool columns_read(Ddl *d, Error *e) {
    const char *const params[] = {d->oid};
    PQclear(d->columns);
    d->columns = pg_query(d->pg, SQL_COLUMNS, 1, params, e);
    d->there.columns = d->columns;
    return d->columns != NULL;
}

static const DdlColumn *more_of(const Ddl *d, const DefinedColumn *column) {
    const Definition *now = d->message->definition;
    for (int at = 0; at < now->count; at++)
        if (now->columns[at].number == column->number)
            return &d->message->columns[at];
    return NULL;
}

static void type_write(const Ddl *d, Writer *sql, const DdlColumn *more) {
    const Selection *selection = d->s->options->selection;
    if (more->type_schema[0] != '\0') {
        pg_write_name(sql, d->pg,
                      selection == NULL ? more->type_schema
                                        : mapping_schema(selection->mapping, d->arena, more->type_schema));
        writer_u8(sql, '.');
    }
    writer_text(sql, more->type_text);
}

static bool column_add(const Ddl *d, const Alteration *a, Error *e) {
    const char *name = column_name((void *)(uintptr_t)d, a->after->name);
    const DdlColumn *more = more_of(d, a->after);
    Writer sql = alter(d, "ADD", name);
    writer_u8(&sql, ' ');
    type_write(d, &sql, more);
    if (more->missing != NULL) {
        writer_text(&sql, " DEFAULT ");
        pg_write_literal(&sql, d->pg, more->missing);
    }
    if (!run(d, &sql, e))
        return false;
    if (more->missing == NULL)
        return true;
    sql = alter(d, "ALTER", name);
    writer_text(&sql, " DROP DEFAULT");
    return run(d, &sql, e);
}

static bool alteration_run(const Ddl *d, const Alteration *a, Error *e) {
    Writer sql;
    switch (a->kind) {
    case ALTERED_DROPPED: sql = alter(d, "DROP", column_name((void *)(uintptr_t)d, a->before->name)); break;
    case ALTERED_RENAMED:
        sql = alter(d, "RENAME", column_name((void *)(uintptr_t)d, a->before->name));
        writer_text(&sql, " TO ");
        pg_write_name(&sql, d->pg, column_name((void *)(uintptr_t)d, a->after->name));
        break;
    case ALTERED_RETYPED:
        sql = alter(d, "ALTER", column_name((void *)(uintptr_t)d, a->after->name));
        writer_text(&sql, " TYPE ");
        type_write(d, &sql, more_of(d, a->after));
        break;
    case ALTERED_ADDED:
    default: return column_add(d, a, e);
    }
    return run(d, &sql, e);
}

/* The source has renamed one column at a time, each told by a message of its own: no two meet. */
static bool columns_alter(Ddl *d, Error *e) {
    size_t most = 2 * ((size_t)d->before->count + (size_t)d->after->count) + 1;
    Alteration *list = arena_alloc(d->arena, most * sizeof *list);
    int count = definition_alterations(d->before, d->after, list);
    bool ok = columns_read(d, e);
    for (int at = 0; ok && at < count; at++)
        ok = (list[at].kind != ALTERED_RETYPED && alteration_is_there(&d->there, &list[at])) ||
             (alteration_run(d, &list[at], e) && columns_read(d, e));
    return ok;
}

static bool default_settle(const Ddl *d, const DdlColumn *more, int row, const char *name, Error *e) {
    const char *there =
        pg_cell_null(d->columns, row, CELL_DEFAULT) ? "" : pg_cell(d->columns, row, CELL_DEFAULT);
    if (strcmp(there, more->value == NULL ? "" : more->value) == 0)
        return true;
    Writer sql = alter(d, "ALTER", name);
    if (more->value == NULL)
        writer_text(&sql, " DROP DEFAULT");
    else
        writer_format(&sql, " SET DEFAULT %s", more->value);
    bool set;
    return attempt(d->pg, &sql, &set, e);
}

static bool constraints_settle(const Ddl *d, Error *e) {
    bool ok = true;
    for (int at = 0; ok && at < d->after->count; at++) {
        const DdlColumn *more = more_of(d, &d->after->columns[at]);
        const char *name = column_name((void *)(uintptr_t)d, d->after->columns[at].name);
        for (int row = 0; ok && row < PQntuples(d->columns); row++) {
            if (strcmp(pg_cell(d->columns, row, CELL_NAME), name) != 0)
                continue;
            ok = default_settle(d, more, row, name, e);
            if (!ok || pg_cell_bool(d->columns, row, CELL_NOT_NULL) == more->not_null)
                continue;
            Writer sql = alter(d, "ALTER", name);
            writer_format(&sql, " %s NOT NULL", more->not_null ? "SET" : "DROP");
            ok = run(d, &sql, e);
        }
    }
    return ok;
}

/* ---- one message ---- */

static const Table *selected(const ApplySession *s, uint32_t oid) {
    const Selection *selection = s->options->selection;
    for (int at = 0; selection != NULL && at < selection->count; at++)
        if (selection->tables[at].oid == oid)
            return &selection->tables[at];
    return NULL;
}

/* What travels: not what is generated, nor what a column list leaves out. */
static const Definition *travelling(const Ddl *d) {
    const Definition *all = d->message->definition;
    const Table *table = selected(d->s, d->message->oid);
    Definition *out = arena_alloc(d->arena, sizeof *out);
    DefinedColumn *columns = arena_alloc(d->arena, ((size_t)all->count + 1) * sizeof *columns);
    *out = (Definition){all->schema, all->name, 0, columns};
    for (int at = 0; at < all->count; at++) {
        bool listed = table == NULL || !table->listed;
        for (int own = 0; !listed && own < table->column_count; own++)
            listed = table->columns[own].number == all->columns[at].number && table->columns[own].taken;
        if (listed && !d->message->columns[at].generated)
            columns[out->count++] = all->columns[at];
    }
    return out;
}

static bool record_move(const Ddl *d, Error *e) {
    Writer text = writer_new(SQL_LIMIT);
    definition_write(&text, d->after);
    bool ok = text.len == 0 || state_table_defined(d->pg, d->s->options->cfg, d->record, d->message->oid,
                                                   writer_string(&text), d->there.schema, d->there.name, e);
    writer_free(&text);
    return ok;
}

/* Statements in the stream's transaction, behind all that was sent, and outside of the pipeline. They may take long. */
typedef bool Plain(void *context, Error *e);
static bool plainly(ApplySession *s, Plain *what, void *context, Error *e) {
    if (!apply_session_begin(s, e) || !apply_settled(s, e) || !live_sync(s->live, e))
        return false;
    bool patient = s->pg->patient;
    pg_expect_work(s->pg);
    live_pause(s->live);
    bool ok = what(context, e);
    live_resume(s->live);
    s->pg->patient = patient;
    return ok;
}

static bool definition_apply(void *ddl, Error *e) {
    Ddl *d = ddl;
    d->s->redefined = true;
    d->there = (AlteredThere){.record = d->record, .column_name = column_name, .context = d};
    d->before = d->record->definition == NULL ? NULL : definition_read(d->arena, d->record->definition);
    d->after = travelling(d);
    if (d->before == NULL)
        return true; /* the first row begins the record */
    bool ok = pg_run(d->pg, SQL_WAIT, e) && table_settle(d, e) && columns_alter(d, e) &&
              constraints_settle(d, e) && record_move(d, e) && pg_run(d->pg, SQL_OVER, e) &&
              FAULT("ddl.after_statements", e);
    PQclear(d->columns);
    return ok;
}

static bool definition_follow(ApplySession *s, TableRecord *record, const DdlMessage *message, Arena *arena,
                              Error *e) {
    Ddl d = {.s = s,
             .pg = s->pg,
             .record = record,
             .message = message,
             .arena = arena,
             .top = writer_new(SQL_LIMIT)};
    bool ok = plainly(s, definition_apply, &d, e);
    writer_free(&d.top);
    if (ok || (e->kind != ERR_DATA && e->kind != ERR_CONFIG))
        return ok;
    s->altered = record;
    e->kind = ERR_DATA;
    return fail_context(e,
                        "table \"%s.%s\" has changed on the source, and cannot be changed so at the target",
                        record->schema, record->name);
}

/* ---- indexes ---- */

typedef struct Index {
    ApplySession *s;
    const DdlMessage *message;
    char note[40];
} Index;

static void note_write(Index *index) {
    Writer name = writer_new(SQL_LIMIT);
    writer_format(&name, "%s.%s", index->message->index_schema, index->message->index);
    snprintf(index->note, sizeof index->note, STATE_INDEX_NOTE "%016llx",
             (unsigned long long)XXH64(name.at, name.len, 0));
    writer_free(&name);
}

static bool index_make(void *context, Error *e) {
    const Index *index = context;
    const DdlMessage *message = index->message;
    const Config *cfg = index->s->options->cfg;
    bool noted;
    Writer what = writer_new(SQL_LIMIT);
    writer_format(&what, "%s\n%s\n%s", message->index_schema, message->index, message->index_create);
    bool ok = state_object_made(index->s->pg, cfg, index->note, &noted, e) &&
              (noted || state_object_note(index->s->pg, cfg, index->note, writer_string(&what), e));
    writer_free(&what);
    return ok;
}

/* Which table it was of on the source nobody knows any more: at the target it is one of the job's, or not ours. */
static bool index_is_ours(const Index *index, bool *ours, Error *e) {
    const TableRecords *tables = index->s->tables;
    const char *const params[] = {index->message->index_schema, index->message->index};
    PGresult *found = pg_query(index->s->pg, SQL_INDEX, 2, params, e);
    *ours = false;
    for (int at = 0; found != NULL && PQntuples(found) > 0 && at < tables->count; at++)
        *ours = *ours || (int64_t)tables->rows[at].target_oid == pg_cell_int(found, 0, 0);
    PQclear(found);
    return found != NULL;
}

static bool index_drop(void *context, Error *e) {
    const Index *index = context;
    Pg *pg = index->s->pg;
    int64_t count;
    bool ours, dropped;
    bool known = state_object_forget(pg, index->s->options->cfg, index->note, &count, e) &&
                 index_is_ours(index, &ours, e);
    if (!known || !ours)
        return known;
    Writer sql = writer_new(SQL_LIMIT);
    writer_text(&sql, "DROP INDEX ");
    pg_write_table(&sql, pg, index->message->index_schema, index->message->index);
    if (!pg_run(pg, SQL_WAIT, e)) {
        writer_free(&sql);
        return false;
    }
    bool ok = attempt(pg, &sql, &dropped, e);
    if (ok && dropped)
        log_info("at the target: index \"%s.%s\" is dropped", index->message->index_schema,
                 index->message->index);
    return ok && pg_run(pg, SQL_OVER, e);
}

static bool index_is_made(const ApplySession *s, const DdlMessage *message) {
    const Selection *selection = s->options->selection;
    return !message->partitioned && strchr(message->index, '\n') == NULL &&
           strchr(message->index_schema, '\n') == NULL &&
           (selection == NULL || !mapping_renames(selection->mapping));
}

static bool index_follow(ApplySession *s, const DdlMessage *message, Error *e) {
    Index index = {.s = s, .message = message};
    note_write(&index);
    return plainly(s, message->index_create != NULL ? index_make : index_drop, &index, e);
}

static bool message_follow(ApplySession *s, const Transaction *tx, const DdlMessage *message, Arena *arena,
                           Error *e) {
    TableRecord *record = message->oid == 0 ? NULL : state_table_find(s->tables, message->oid, "", "");
    if (message->index != NULL) {
        bool ours = record != NULL || message->oid == 0 || message->partitioned;
        if (ours && index_is_made(s, message))
            return index_follow(s, message, e);
        if (ours)
            log_warn("an index %s on the source, and not at the target: %s",
                     message->index_create == NULL ? "was dropped" : "was made",
                     message->index_create == NULL ? message->index : message->index_create);
        return true;
    }
    if (record == NULL || !apply_is_due(record, tx))
        return true;
    if (!message->rewrite)
        return definition_follow(s, record, message, arena, e);
    s->altered = record;
    return fail(e, ERR_DATA, "the rows of table \"%s.%s\" were written anew on the source", record->schema,
                record->name);
}

bool apply_ddl(ApplySession *s, const Transaction *tx, const Change *change, Error *e) {
    Arena *arena = arena_new();
    DdlMessage message;
    bool ok = !ddl_message_read(arena, change->message.content, &message) ||
              message_follow(s, tx, &message, arena, e);
    arena_free(arena);
    return ok;
}
