#include "sink/postgres/apply_alter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "sink/postgres/alteration.h"
#include "sink/postgres/catchup.h"

static const char SQL_OID[] =
    "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid ="
    " c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";
static const char SQL_TYPE[] = "SELECT pg_catalog.format_type($1::oid, $2::int)";

enum {
    FIRST_OID_OF_USERS = 16384,
    TEXT_LIMIT = 1 << 20,
    TYPE_SIZE = 200,
    SAID_BYTES = 420,
    HINT_BYTES = 300
};

typedef struct Following {
    ApplySession *s;
    TableRecord *record;
    const Relation *rel;
    Arena *arena;
    const Definition *before, *after;
    AlteredThere there;
    MappedName old_name;
} Following;

static const char *column_name(void *following, const char *column) {
    const Following *f = following;
    return selection_target_column(f->s->options->selection, f->arena, f->rel->schema, f->rel->name, column);
}

static bool table_oid(Pg *pg, MappedName name, uint32_t *oid, Error *e) {
    const char *const params[] = {name.schema, name.name};
    PGresult *rows = pg_query(pg, SQL_OID, 2, params, e);
    *oid = rows != NULL && PQntuples(rows) == 1 ? (uint32_t)pg_cell_int(rows, 0, 0) : 0;
    PQclear(rows);
    return rows != NULL;
}

static bool type_text(Pg *pg, const Alteration *a, char out[TYPE_SIZE], Error *e) {
    char type[16], modifier[16];
    const char *const params[] = {type, modifier};
    snprintf(out, TYPE_SIZE, "%s", "a type of its own");
    if (a->after == NULL || a->after->type >= FIRST_OID_OF_USERS)
        return true;
    snprintf(type, sizeof type, "%" PRIu32, a->after->type);
    snprintf(modifier, sizeof modifier, "%" PRId32, a->after->modifier);
    return pg_value(pg, SQL_TYPE, 2, params, out, TYPE_SIZE, e);
}

/* Whole items only: what has no room is counted. */
static void item_add(Writer *list, size_t limit, const char *between, const char *item, int *left_out) {
    if (*left_out > 0 || list->len + strlen(item) + strlen(between) > limit)
        ++*left_out;
    else
        writer_format(list, "%s%s", list->len == 0 ? "" : between, item);
}

static void rename_tell(const Following *f, Writer *said, Writer *statements) {
    Writer *out = statements;
    Pg *pg = f->s->pg;
    MappedName from = f->old_name, to = {f->there.schema, f->there.name};
    writer_format(said, "is now \"%s.%s\"", f->after->schema, f->after->name);
    if (strcmp(from.schema, to.schema) != 0) {
        writer_text(out, "ALTER TABLE ");
        pg_write_table(out, pg, from.schema, from.name);
        writer_text(out, " SET SCHEMA ");
        pg_write_name(out, pg, to.schema);
    }
    if (strcmp(from.name, to.name) == 0)
        return;
    writer_format(out, "%sALTER TABLE ", out->len == 0 ? "" : "; ");
    pg_write_table(out, pg, to.schema, from.name);
    writer_text(out, " RENAME TO ");
    pg_write_name(out, pg, to.name);
}

static bool alteration_add(const Following *f, const Alteration *a, Writer *said, Writer *statements,
                           int *left_out, Error *e) {
    char type[TYPE_SIZE];
    if (!type_text(f->s->pg, a, type, e))
        return false;
    Writer item = writer_new(TEXT_LIMIT);
    alteration_tell(&item, a, type);
    item_add(said, SAID_BYTES, ", ", writer_string(&item), left_out);
    writer_reset(&item);
    int not_shown = 0;
    alteration_statement(&item, f->s->pg, &f->there, a, type);
    item_add(statements, HINT_BYTES, "; ", writer_string(&item), &not_shown);
    writer_free(&item);
    return true;
}

/* What is not there yet, and what makes it so. */
static bool changes_tell(const Following *f, const Alteration *list, int count, Error *e) {
    Writer said = writer_new(TEXT_LIMIT), statements = writer_new(TEXT_LIMIT);
    int left_out = 0;
    bool ok = true,
         renamed = !definition_same_name(f->before, f->after) && !alteration_name_is_there(&f->there);
    if (renamed)
        rename_tell(f, &said, &statements);
    for (int at = 0; ok && at < count; at++)
        if (renamed || !alteration_is_there(&f->there, &list[at]))
            ok = alteration_add(f, &list[at], &said, &statements, &left_out, e);
    if (ok) {
        char more[40] = "";
        f->s->altered = f->record;
        if (left_out > 0)
            snprintf(more, sizeof more, ", and %d more changes", left_out);
        fail(e, ERR_DATA, "table \"%s.%s\" has changed on the source: %s%s", f->before->schema,
             f->before->name, writer_string(&said), more);
        fail_hint(e, "do the same at the target (%s%s), then start again, which goes on from here",
                  writer_string(&statements), left_out > 0 ? "; …" : "");
    }
    writer_free(&said);
    writer_free(&statements);
    return false;
}

static bool record_follow(const Following *f, Error *e) {
    Writer text = writer_new(TEXT_LIMIT);
    definition_write(&text, f->after);
    bool ok = text.len == 0 || state_table_defined(f->s->pg, f->s->options->cfg, f->record, f->rel->oid,
                                                   writer_string(&text), f->there.schema, f->there.name, e);
    writer_free(&text);
    return ok;
}

static bool changes_follow(Following *f, Error *e) {
    size_t most = 2 * ((size_t)f->before->count + (size_t)f->after->count) + 1;
    Alteration *list = arena_alloc(f->arena, most * sizeof *list);
    int count = definition_alterations(f->before, f->after, list);
    bool there = definition_same_name(f->before, f->after) || alteration_name_is_there(&f->there);
    for (int at = 0; there && at < count; at++)
        there = alteration_is_there(&f->there, &list[at]);
    if (!there)
        return changes_tell(f, list, count, e);
    f->s->redefined = true;
    log_info("table \"%s.%s\" has changed on the source, and is changed at the target already",
             f->rel->schema, f->rel->name);
    return record_follow(f, e);
}

/* Plain statements. Where the record knows nothing yet, it begins with what comes. */
static bool relation_follow(Following *f, Error *e) {
    Pg *pg = f->s->pg;
    uint32_t old_oid = 0;
    if (f->before == NULL)
        return record_follow(f, e);
    const char *const params[] = {f->there.schema, f->there.name};
    MappedName now = {f->there.schema, f->there.name};
    f->old_name = selection_target(f->s->options->selection, f->arena, f->before->schema, f->before->name);
    if (!table_oid(pg, now, &f->there.oid, e) || !table_oid(pg, f->old_name, &old_oid, e))
        return false;
    f->there.old_name_there = old_oid != 0 && old_oid != f->there.oid;
    PGresult *columns = pg_query(pg, ALTERED_COLUMNS_SQL, 2, params, e);
    f->there.columns = columns;
    bool ok = columns != NULL && changes_follow(f, e);
    PQclear(columns);
    return ok;
}

bool apply_alter(ApplySession *s, TableRecord *record, const Relation *rel, Error *e) {
    Following f = {.s = s, .record = record, .rel = rel, .arena = arena_new()};
    f.before = record->definition == NULL ? NULL : definition_read(f.arena, record->definition);
    bool ok = f.before != NULL && definition_describes(f.before, rel);
    if (s->parts && f.before == NULL)
        ok = true; /* a record of an older version: it is noted by what comes whole */
    else if (!ok && s->parts)
        fail(e, ERR_DATA, "table \"%s.%s\" has changed in a transaction that has not ended", rel->schema,
             rel->name);
    else if (!ok && apply_session_begin(s, e) && apply_settled(s, e) && live_sync(s->live, e)) {
        MappedName target = selection_target(s->options->selection, f.arena, rel->schema, rel->name);
        f.after = definition_of_relation(f.arena, rel);
        f.there = (AlteredThere){.schema = target.schema,
                                 .name = target.name,
                                 .record = record,
                                 .column_name = column_name,
                                 .context = &f};
        live_pause(s->live);
        ok = relation_follow(&f, e);
        live_resume(s->live);
    }
    arena_free(f.arena);
    return ok;
}
