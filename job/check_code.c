#include "job/check_code.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "job/check_text.h"

static const char BEGIN_SQL[] = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
static const char CREATEDB_SQL[] =
    "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user";

#define OURS(catalog)                                                                                        \
    " n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM"         \
    " pg_depend m WHERE m.classid = '" catalog "'::regclass AND m.objid = x.oid AND m.deptype = 'e')"
/* Every name that may get another: a schema's, a relation's, a column's where it begins. */
static const char NAMES_SQL[] =
    "SELECT n.nspname, x.relname, NULL FROM pg_class x JOIN pg_namespace n ON n.oid = x.relnamespace"
    " WHERE x.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND" OURS(
        "pg_class") " UNION ALL SELECT n.nspname, x.relname, a.attname FROM pg_class x JOIN pg_namespace n "
                    "ON n.oid = x.relnamespace"
                    " JOIN pg_attribute a ON a.attrelid = x.oid AND a.attnum > 0 AND NOT a.attisdropped AND "
                    "a.attinhcount = 0"
                    " WHERE x.relkind IN ('r', 'p', 'v', 'm', 'f') AND" OURS(
                        "pg_class") " UNION ALL SELECT n.nspname, NULL, NULL FROM pg_namespace n JOIN "
                                    "pg_namespace x ON x.oid = n.oid"
                                    " WHERE" OURS("pg_namespace");
/* Text that a server runs, but does not follow: bodies that are not parsed, settings, arguments of triggers. Whether it may
 * speak of columns without naming their table: of rows that it is handed. */
#define HANDED_ROWS                                                                                          \
    "x.prorettype = 'trigger'::regtype OR EXISTS (SELECT FROM pg_type t"                                     \
    " LEFT JOIN pg_type b ON b.oid IN (t.typelem, t.typbasetype)"                                            \
    " WHERE t.oid = ANY (x.proargtypes) AND (t.typtype IN ('c', 'p') OR b.typtype = 'c'))"
#define ROUTINES                                                                                             \
    "SELECT 'pg_proc'::regclass::oid, x.oid, pg_describe_object('pg_proc'::regclass, x.oid, 0),"             \
    " concat_ws(' ', CASE WHEN l.lanname NOT IN ('internal', 'c') THEN x.prosrc END,"                        \
    "  array_to_string(x.proconfig, ' ')), format('%s.%s', n.nspname, x.proname), " HANDED_ROWS              \
    " FROM pg_proc x JOIN pg_namespace n ON n.oid = x.pronamespace"                                          \
    " JOIN pg_language l ON l.oid = x.prolang WHERE" OURS("pg_proc")
#define TRIGGERS                                                                                             \
    " UNION ALL SELECT 'pg_trigger'::regclass::oid, x.oid,"                                                  \
    " pg_describe_object('pg_trigger'::regclass, x.oid, 0),"                                                 \
    " replace(encode(x.tgargs, 'escape'), '\\000', ' '), NULL, true FROM pg_trigger x"                       \
    " JOIN pg_class c ON c.oid = x.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"                    \
    " WHERE NOT x.tgisinternal AND x.tgnargs > 0 AND" OURS("pg_trigger") " ORDER BY 3"
/* A body that is parsed (14 and newer) leaves prosrc empty. */
static const char CODE_SQL[] = ROUTINES TRIGGERS;

enum { LOSSES_SHOWN_MAX = 20 };

/* ---- what goes with what is left out ---- */

bool check_choice(Check *c, Choice **out, Error *e) {
    Error ignored;
    *out = NULL;
    if (!choice_needed(c->cfg))
        return true;
    if (!pg_run(c->source, BEGIN_SQL, e))
        return false;
    *out = choice_make(c->source, c->cfg, c->selection->mapping, NULL, e);
    pg_run(c->source, "ROLLBACK", &ignored);
    return *out != NULL;
}

bool check_left_out(Check *c, Finding *out, Error *e) {
    Choice *choice;
    const ChoiceLoss *losses;
    if (!check_choice(c, &choice, e))
        return false;
    out->left_out = choice == NULL;
    int count = choice == NULL ? 0 : choice_losses(choice, &losses), shown = 0;
    for (int at = 0; at < count; at++) {
        const ChoiceLoss *loss = &losses[at];
        if (loss->is_table)
            finding_fail(out, "%s is taken, but not %s, which it needs", loss->what, loss->because);
        else if (shown++ < LOSSES_SHOWN_MAX)
            finding_alert(out, "%s is left out, because %s is", loss->what, loss->because);
    }
    if (shown > LOSSES_SHOWN_MAX)
        finding_alert(out, "and %d more", shown - LOSSES_SHOWN_MAX);
    if (count > 0)
        finding_fix(out, "take both or none: objects.include and objects.exclude");
    else
        finding_pass(out, "nothing that the job takes needs what it leaves out");
    choice_free(choice);
    return true;
}

/* ---- names in code ---- */

/* What a word in code may mean, in small letters: code may write it in any. */
enum {
    MEANS_CHANGED = 1, /* a schema or relation that gets another name */
    MEANS_COLUMN = 2,  /* a column that does */
    MEANS_OWNER = 4,   /* a relation with such a column */
    MEANS_MOVED = 8    /* a relation that keeps its name, in another schema */
};
typedef struct OldName {
    char *text;
    unsigned means;
    bool odd; /* not one word */
    UT_hash_handle hh;
} OldName;

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static char *lowered(const char *text) {
    char *copy = memory_text(text);
    for (char *c = copy; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    return copy;
}

static void name_add(OldName **names, const char *old, unsigned means) {
    OldName *name;
    char *text = lowered(old);
    HASH_FIND_STR(*names, text, name);
    if (name == NULL) {
        name = memory_new(sizeof *name);
        name->text = text;
        for (const char *c = text; *c != '\0'; c++)
            name->odd = name->odd || !is_word(*c);
        HASH_ADD_KEYPTR(hh, *names, name->text, strlen(name->text), name);
    } else {
        free(text);
    }
    name->means |= means;
}

static void name_compare(OldName **names, const char *old, const char *new) {
    if (strcmp(old, new) != 0)
        name_add(names, old, MEANS_CHANGED);
}

static void names_free_all(OldName *names) {
    OldName *name, *next;
    HASH_ITER (hh, names, name, next) {
        HASH_DEL(names, name);
        free(name->text);
        free(name);
    }
}

static bool old_names_read(Check *c, OldName **out, Error *e) {
    PGresult *rows = pg_query(c->source, NAMES_SQL, 0, NULL, e);
    Arena *arena = arena_new();
    const Mapping *m = c->selection->mapping;
    for (int row = 0; rows != NULL && row < PQntuples(rows); row++) {
        const char *schema = pg_cell(rows, row, 0), *name = pg_cell(rows, row, 1),
                   *column = pg_cell(rows, row, 2);
        if (!pg_cell_null(rows, row, 2)) {
            if (strcmp(column, mapping_column(m, arena, schema, name, column)) == 0)
                continue;
            name_add(out, column, MEANS_COLUMN);
            name_add(out, name, MEANS_OWNER);
        } else if (!pg_cell_null(rows, row, 1)) {
            MappedName mapped = mapping_relation(m, arena, schema, name);
            name_compare(out, name, mapped.name);
            name_compare(out, schema, mapped.schema);
            if (strcmp(schema, mapped.schema) != 0)
                name_add(out, name, MEANS_MOVED);
        } else {
            name_compare(out, schema, mapping_schema(m, arena, schema));
        }
    }
    arena_free(arena);
    PQclear(rows);
    return rows != NULL;
}

/* Quotes are doubled in code, once or more often. */
static char *without_quotes(const char *text) {
    char *copy = memory_text(text), *to = copy;
    for (const char *c = text; *c != '\0'; c++)
        if (*c != '"' && *c != '\'')
            *to++ = *c;
    *to = '\0';
    return copy;
}

/* What was found in one text. */
typedef struct Mention {
    const OldName *changed, *column, *moved;
    bool reaches; /* columns can be meant */
} Mention;

static void mention_add(Mention *m, const OldName *name) {
    if (name->means & MEANS_CHANGED)
        m->changed = name;
    if (name->means & MEANS_COLUMN)
        m->column = name;
    if (name->means & MEANS_MOVED)
        m->moved = name;
    m->reaches = m->reaches || (name->means & MEANS_OWNER);
}

static void odd_look(const OldName *names, const char *code, Mention *m) {
    char *bare_code = without_quotes(code);
    for (const OldName *name = names; name != NULL; name = name->hh.next) {
        char *bare = name->odd ? without_quotes(name->text) : NULL;
        if (bare != NULL && strstr(bare_code, bare) != NULL)
            mention_add(m, name);
        free(bare);
    }
    free(bare_code);
}

/* Every word counts, in a comment or a literal, too: code may be put together from literals. */
static Mention mentioned(const OldName *names, const char *text, bool handed_rows) {
    Mention m = {.reaches = handed_rows};
    char *code = lowered(text), *end = code;
    for (char *word = code; *word != '\0'; word = end) {
        const OldName *found;
        while (*word != '\0' && !is_word(*word))
            word++;
        for (end = word; is_word(*end);)
            end++;
        HASH_FIND(hh, names, word, (size_t)(end - word), found);
        if (found != NULL)
            mention_add(&m, found);
    }
    odd_look(names, code, &m);
    free(code);
    return m;
}

static void code_add(Names *to, const PGresult *rows, int row, const OldName *name) {
    Writer one = writer_new(1 << 12);
    writer_format(&one, "%s (%s)", pg_cell(rows, row, 2), name->text);
    names_add(to, writer_string(&one));
    writer_free(&one);
}

static void code_tell(Names *changed, Names *moved, Finding *out) {
    if (changed->count > 0) {
        finding_fix(
            out,
            "leave them out and write them at the target with the new names; or make the whole schema there "
            "and take \"schema\" out of phases");
        finding_fail(out, "%d routines and triggers name in their text what gets another name: %s",
                     changed->count, names_text(changed));
    }
    if (moved->count > 0) {
        finding_fix(out, "ALTER DATABASE … SET search_path = …; -- at the target, with the new schemas");
        finding_alert(out, "%d routines may name tables without their schema, which gets another name: %s",
                      moved->count, names_text(moved));
    }
    if (changed->count + moved->count == 0)
        finding_pass(out, "no code names what gets another name");
}

static void code_look(const PGresult *rows, const Choice *choice, const OldName *names, Finding *out) {
    Names changed = names_new(), moved = names_new();
    for (int row = 0; row < PQntuples(rows); row++) {
        if (choice_leaves_out(choice, (uint32_t)pg_cell_int(rows, row, 0),
                              (uint32_t)pg_cell_int(rows, row, 1)))
            continue;
        Mention m = mentioned(names, pg_cell(rows, row, 3), pg_cell_bool(rows, row, 5));
        const OldName *refused = m.changed != NULL ? m.changed : m.reaches ? m.column : NULL;
        if (refused != NULL && !names_full(&changed) && !pg_cell_null(rows, row, 4))
            finding_fix(out, "objects.exclude: [%s]", pg_cell(rows, row, 4));
        if (refused != NULL)
            code_add(&changed, rows, row, refused);
        else if (m.moved != NULL)
            code_add(&moved, rows, row, m.moved);
    }
    code_tell(&changed, &moved, out);
    names_free(&changed);
    names_free(&moved);
}

bool check_renamed_in_code(Check *c, Finding *out, Error *e) {
    OldName *names = NULL;
    Choice *choice = NULL;
    out->left_out = !mapping_renames(c->selection->mapping);
    if (out->left_out)
        return true;
    PGresult *rows = NULL;
    if (old_names_read(c, &names, e) && check_choice(c, &choice, e))
        rows = pg_query(c->source, CODE_SQL, 0, NULL, e);
    if (rows != NULL)
        code_look(rows, choice, names, out);
    bool ok = rows != NULL;
    PQclear(rows);
    choice_free(choice);
    names_free_all(names);
    return ok;
}

bool check_rename_rights(Check *c, Finding *out, Error *e) {
    char may[8];
    out->left_out = !mapping_renames(c->selection->mapping);
    if (out->left_out || !pg_value(c->target, CREATEDB_SQL, 0, NULL, may, sizeof may, e))
        return out->left_out;
    if (may[0] == 't')
        return finding_pass(out,
                            "user \"%s\" may make a database, in which the definitions get their new names",
                            pg_cell(c->target_facts, 0, TARGET_USER));
    Writer user = writer_new(1 << 10);
    pg_write_name(&user, c->target, pg_cell(c->target_facts, 0, TARGET_USER));
    finding_fix(out,
                "ALTER ROLE %s CREATEDB; -- at the target, by a superuser; the database is dropped again",
                writer_string(&user));
    writer_free(&user);
    return finding_fail(out,
                        "user \"%s\" may not make a database, in which the definitions get their new names",
                        pg_cell(c->target_facts, 0, TARGET_USER));
}
