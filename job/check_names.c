#include "job/check_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/options.h"
#include "core/sqlstate.h"
#include "decoder/publication.h"
#include "job/check_text.h"

enum { NAME_MAX_BYTES = 1 << 12, LIST_MAX_BYTES = 1 << 24, SERVER_15 = 150000 };

/* Foreign keys to the tables $1, of which not all rows are taken. */
static const char REFERRING_SQL[] =
    "SELECT pg_describe_object('pg_constraint'::regclass, k.oid, 0) FROM pg_constraint k"
    " WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ($1::oid[]) ORDER BY 1";

/* ---- names ---- */

static void complaint_take(void *context, const char *sentence, const char *fix) {
    Finding *out = context;
    finding_fail(out, "%s", sentence);
    if (fix[0] != '\0')
        finding_fix(out, "%s", fix);
}

/* Told of a job that is not born yet only: a table that the source drops later must not stop the others. */
bool check_objects(Check *c, Finding *out, Error *e) {
    const Selection *s = c->selection;
    out->left_out =
        c->cfg->objects.include.count + c->cfg->objects.exclude.count == 0 && !mapping_renames(s->mapping);
    if (!selection_check(c->source, c->cfg, s, !c->resumed, complaint_take, out, e))
        return false;
    if (out->state == CHECK_FAILED) {
        out->left_out = false;
        return true;
    }
    if (s->count == 0 && mapping_chooses(s->mapping)) {
        finding_fix(out, "name tables of the source, as schema.table with * within a part");
        return finding_fail(out, "objects.include takes no table");
    }
    int renamed = 0;
    for (int at = 0; at < s->count; at++)
        renamed += s->tables[at].target_full_name != s->tables[at].full_name ? 1 : 0;
    return finding_pass(out, "%d tables are taken, %d under another name", s->count, renamed);
}

/* ---- row filters and column lists ---- */

/* Sent by a publication with UPDATE and DELETE: what trap A1 is about. */
static bool is_restricted(const Check *c, const Table *t) {
    bool inserts_only = t->insert_only && t->identity_candidate == NULL;
    return c->cfg->phases.incremental && !t->unlogged && !inserts_only;
}

/* The birth of the job sets FULL where it finds no index that could serve. */
static bool becomes_full(const Check *c, const Table *t) {
    return t->identity == TABLE_IDENTITY_FULL ||
           (t->identity == TABLE_IDENTITY_NONE && t->identity_candidate == NULL &&
            c->cfg->identity == IDENTITY_FULL);
}

static void table_write(const Check *c, const Table *t, Writer *out) {
    pg_write_table(out, c->source, t->schema, t->name);
}

static bool every_fits(const TableColumn *column) {
    (void)column;
    return true;
}

static bool identity_fits(const TableColumn *column) {
    return column->identity_key || column->candidate_key;
}

static void list_look(const Check *c, const Table *t, Finding *out) {
    Writer name = writer_new(NAME_MAX_BYTES);
    table_write(c, t, &name);
    if (becomes_full(c, t)) {
        finding_fix(out,
                    "give %s a primary key or a REPLICA IDENTITY USING INDEX, or leave out its columns list",
                    writer_string(&name));
        finding_fail(out, "table \"%s\" has the replica identity FULL, which permits no column list",
                     t->full_name);
    }
    for (int at = 0; at < t->column_count && !becomes_full(c, t); at++) {
        const TableColumn *column = &t->columns[at];
        if (column->taken || !identity_fits(column))
            continue;
        finding_fix(out, "add \"%s\" to the columns of \"%s\"", column->name, t->full_name);
        finding_fail(out, "the column list of table \"%s\" leaves out \"%s\", which is part of its identity",
                     t->full_name, column->name);
    }
    writer_free(&name);
}

/* SELECT takes it between these. */
static bool select_takes(Check *c, const Table *t, const char *open, const char *close, Error *refused) {
    Writer sql = writer_new(SIZE_MAX);
    writer_text(&sql, "SELECT FROM ONLY ");
    table_write(c, t, &sql);
    writer_format(&sql, " WHERE %s%s\n%s LIMIT 0", open, t->where, close);
    PGresult *rows = pg_query(c->source, writer_string(&sql), 0, NULL, refused);
    writer_free(&sql);
    PQclear(rows);
    return rows != NULL;
}

/* A filter that SELECT takes, and that is one condition: "a) OR (b" between parentheses is two, and would not be what
 * it is beside the condition of a range. Between words a parenthesis that closes none of its own is no sentence. */
static bool select_look(Check *c, const Table *t, Finding *out) {
    Error refused;
    if (select_takes(c, t, "(", ")", &refused) && select_takes(c, t, "CASE WHEN ", "THEN true END", &refused))
        return true;
    finding_fix(out, "mend objects.tables.%s.where; names in it are written with their schema", t->full_name);
    finding_fail(out, "the row filter of table \"%s\" is refused: %s", t->full_name, refused.text);
    return false;
}

static void refusal_tell(const Table *t, const Error *refused, Finding *out) {
    if (sqlstate_is(refused, SQLSTATE_LOCK_NOT_AVAILABLE)) {
        finding_fix(out, "check again when nobody holds a lock on \"%s\" (VACUUM, CREATE INDEX, ALTER TABLE)",
                    t->full_name);
        finding_fail(out, "the row filter of table \"%s\" could not be tried: the table is locked",
                     t->full_name);
        return;
    }
    finding_fix(
        out, "mend objects.tables.%s.where: a publication takes immutable built-in functions and types only",
        t->full_name);
    finding_fail(out, "the row filter of table \"%s\" cannot be published: %s", t->full_name, refused->text);
}

static void filter_look(Check *c, const Table *t, Finding *out) {
    char column[NAME_BYTES_MAX + 1];
    Error refused;
    bool any = !is_restricted(c, t) || becomes_full(c, t);
    bool ours = strcmp(c->cfg->source.publication, c->cfg->slot) == 0;
    if (!select_look(c, t, out) || !c->cfg->phases.incremental || t->unlogged || !ours)
        return;
    if (!publication_try_filter(c->source, c->cfg, t, any ? every_fits : identity_fits, column, &refused)) {
        refusal_tell(t, &refused, out);
    } else if (column[0] != '\0') {
        Writer name = writer_new(NAME_MAX_BYTES);
        table_write(c, t, &name);
        finding_fix(out,
                    "ALTER TABLE %s REPLICA IDENTITY USING INDEX …; -- a unique index that holds \"%s\", or "
                    "FULL",
                    writer_string(&name), column);
        finding_fail(out,
                     "the row filter of table \"%s\" names column \"%s\", which is not part of its replica "
                     "identity: every UPDATE and DELETE of the users would be refused",
                     t->full_name, column);
        writer_free(&name);
    }
}

/* Trap A4: a row that enters the filter comes as an INSERT, and not all of its values may be sent. */
static bool may_enter_in_part(const Check *c, const Table *t) {
    if (t->where == NULL || !is_restricted(c, t) || becomes_full(c, t))
        return false;
    for (int at = 0; at < t->column_count; at++)
        if (t->columns[at].taken && t->columns[at].large && !identity_fits(&t->columns[at]))
            return true;
    return false;
}

static void enter_look(const Check *c, Finding *out) {
    Names names = names_new();
    for (int at = 0; at < c->selection->count; at++) {
        const Table *t = &c->selection->tables[at];
        if (!may_enter_in_part(c, t))
            continue;
        Writer name = writer_new(NAME_MAX_BYTES);
        table_write(c, t, &name);
        if (!names_full(&names))
            finding_fix(out, "ALTER TABLE %s REPLICA IDENTITY FULL; -- if rows enter its filter by UPDATE",
                        writer_string(&name));
        names_add(&names, t->full_name);
        writer_free(&name);
    }
    if (names.count > 0)
        finding_alert(out,
                      "an UPDATE that moves a row into the filter and leaves a large value as it is does "
                      "not send that value, and would stop the job: %d tables: %s",
                      names.count, names_text(&names));
    names_free(&names);
}

/* A row that stays behind may be the parent of one that comes: its foreign key is validated behind the load. */
static bool parents_look(Check *c, Finding *out, Error *e) {
    Writer oids = writer_new(LIST_MAX_BYTES);
    Names names = names_new();
    for (int at = 0; at < c->selection->count; at++)
        if (c->selection->tables[at].where != NULL)
            writer_format(&oids, "%s%u", oids.len == 0 ? "{" : ",", c->selection->tables[at].oid);
    writer_text(&oids, oids.len == 0 ? "{}" : "}");
    const char *const params[] = {writer_string(&oids)};
    PGresult *rows = pg_query(c->source, REFERRING_SQL, 1, params, e);
    for (int row = 0; rows != NULL && row < PQntuples(rows); row++)
        names_add(&names, pg_cell(rows, row, 0));
    if (names.count > 0) {
        finding_fix(out, "filter both tables alike, or leave one out: then its foreign key is, too");
        finding_alert(
            out,
            "%d foreign keys refer to tables with a row filter, and cannot be made at the target if a "
            "row refers to one that is not taken: %s",
            names.count, names_text(&names));
    }
    names_free(&names);
    writer_free(&oids);
    PQclear(rows);
    return rows != NULL;
}

/* Of a source that cannot cut its stream, how many tables would have to be. */
static int uncut_count(const Check *c) {
    int count = 0;
    for (int at = 0; c->source->version < SERVER_15 && at < c->selection->count; at++) {
        const Table *t = &c->selection->tables[at];
        bool published = c->cfg->phases.incremental && !t->unlogged;
        count += published && (t->where != NULL || t->listed) ? 1 : 0;
    }
    return count;
}

/* Leaves of one root are often wrong together: the first tell enough. */
static int cuts_look(Check *c, Finding *out) {
    int count = 0, wrong = 0;
    for (int at = 0; at < c->selection->count; at++) {
        const Table *t = &c->selection->tables[at];
        size_t said = out->seen.len;
        if (t->where == NULL && !t->listed)
            continue;
        count++;
        if (wrong == CHECK_NAMES_MAX)
            continue;
        if (t->listed && is_restricted(c, t))
            list_look(c, t, out);
        if (t->where != NULL)
            filter_look(c, t, out);
        wrong += out->seen.len > said ? 1 : 0;
    }
    if (wrong == CHECK_NAMES_MAX)
        finding_fail(out, "further tables were not looked at");
    return count;
}

bool check_row_filters(Check *c, Finding *out, Error *e) {
    int uncut = uncut_count(c);
    if (uncut > 0) {
        finding_fix(out, "upgrade the source, leave out \"where\" and \"columns\", or load without the phase "
                         "\"incremental\"");
        return finding_fail(
            out,
            "a publication knows row filters and column lists from PostgreSQL 15 on: %d tables "
            "have one",
            uncut);
    }
    int count = cuts_look(c, out);
    out->left_out = count == 0;
    enter_look(c, out);
    if (c->cfg->phases.schema && !parents_look(c, out, e))
        return false;
    if (out->state == CHECK_PASSED)
        finding_pass(out, "%d tables have a row filter or a column list that the source takes", count);
    return true;
}
