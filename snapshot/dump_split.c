#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/memory.h"
#include "snapshot/dump_intern.h"
#include "snapshot/dump_lexer.h"

#define ACCESS_METHOD "SET default_table_access_method = "
enum { PREAMBLE_MAX_BYTES = 65536 };

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static char *text_copy(Slice s) {
    char *copy = memory_raw(s.len + 1);
    if (s.len > 0)
        memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return copy;
}

/* ---- the script ---- */

/* The parts of a header, "NAME; Type: TYPE; Schema: SCHEMA; Owner: OWNER". */
typedef struct Header {
    Slice name, type, schema, owner;
} Header;

/* The list has them in another order and with blanks between them; pg_restore writes "-" for an owner that it leaves out. */
static bool parts_agree(const DumpLine *line, const Header *h) {
    const Slice parts[] = {h->type, h->schema, h->name};
    const char *at = line->rest, *end = line->text + line->len;
    for (int part = 0; part < 3; part++) {
        size_t len = parts[part].len;
        if ((size_t)(end - at) <= len || strncmp(at, parts[part].at, len) != 0 || at[len] != ' ')
            return false;
        at += len + 1;
    }
    size_t left = (size_t)(end - at);
    return slice_is(h->owner, "-") || (left == h->owner.len && strncmp(at, h->owner.at, left) == 0);
}

static const char *find_in(Slice text, const char *what) {
    return text.len == 0 ? NULL : memmem(text.at, text.len, what, strlen(what));
}

static Slice slice_from(Slice whole, const char *at) {
    return (Slice){at, whole.len - (size_t)(at - whole.at)};
}

/* The marks that end a header's name, type and schema. */
static const char *const MARKS[] = {"; Type: ", "; Schema: ", "; Owner: "};

/* Takes a header apart from its part `part` on. A name may contain the marks itself: that way of cutting is taken
 * which gives what the list says. */
static bool header_agrees(const DumpLine *line, Slice text, int part, Header *h) {
    if (part == 3) {
        h->owner = text;
        return parts_agree(line, h);
    }
    Slice *parts[] = {&h->name, &h->type, &h->schema};
    const char *mark = MARKS[part];
    for (const char *at = find_in(text, mark); at != NULL; at = find_in(slice_from(text, at + 1), mark)) {
        *parts[part] = (Slice){text.at, (size_t)(at - text.at)};
        if (header_agrees(line, slice_from(text, at + strlen(mark)), part + 1, h))
            return true;
    }
    return false;
}

static bool ends(const char *text, const char *with) {
    size_t len = strlen(text), with_len = strlen(with);
    return len >= with_len && strcmp(text + len - with_len, with) == 0;
}

static DumpKind kind_of_type(const DumpEntry *entry) {
    static const struct {
        const char *type;
        DumpKind kind;
    } kinds[] = {
        {"INDEX", DUMP_INDEX},
        {"INDEX ATTACH", DUMP_INDEX},
        {"CONSTRAINT", DUMP_INDEX},
        {"STATISTICS", DUMP_INDEX},
        {"MATERIALIZED VIEW", DUMP_DEFINITION},
        {"VIEW", DUMP_DEFINITION},
        {"FUNCTION", DUMP_DEFINITION},
        {"PROCEDURE", DUMP_DEFINITION},
        {"FK CONSTRAINT", DUMP_FOREIGN_KEY},
        {"TRIGGER", DUMP_TRIGGER},
        {"EVENT TRIGGER", DUMP_LAST},
    };
    /* The rule of a view is the view itself: one that stands on a primary key. */
    if (strcmp(entry->type, "RULE") == 0)
        return ends(entry->name, " _RETURN") ? DUMP_OTHER : DUMP_TRIGGER;
    for (size_t at = 0; at < sizeof kinds / sizeof kinds[0]; at++)
        if (strcmp(entry->type, kinds[at].type) == 0)
            return kinds[at].kind;
    return DUMP_OTHER;
}

/* A comment can only run after what it is about, so comments on what may be left out share its kind. pg_dump writes
 * the comment on a constraint right behind the constraint. */
static DumpKind kind_of(const DumpEntry *entry, const DumpEntry *before) {
    if (strcmp(entry->type, "COMMENT") != 0)
        return kind_of_type(entry);
    if (begins(entry->name, "TRIGGER ") || begins(entry->name, "RULE "))
        return DUMP_TRIGGER;
    if (begins(entry->name, "EVENT TRIGGER "))
        return DUMP_LAST;
    if (begins(entry->name, "CONSTRAINT ") && before != NULL && strcmp(before->type, "FK CONSTRAINT") == 0)
        return DUMP_FOREIGN_KEY;
    return DUMP_OTHER;
}

static void entry_hash(DumpEntry *entry) {
    static const char digits[] = "0123456789abcdef";
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(entry->sql, strlen(entry->sql)));
    for (size_t at = 0; at < sizeof canonical.digest; at++) {
        entry->hash[2 * at] = digits[canonical.digest[at] >> 4];
        entry->hash[2 * at + 1] = digits[canonical.digest[at] & 15];
    }
    entry->hash[2 * sizeof canonical.digest] = '\0';
}

static Slice trimmed(const char *from, const char *to) {
    while (from < to && *from == '\n')
        from++;
    while (from < to && to[-1] == '\n')
        to--;
    return (Slice){from, (size_t)(to - from)};
}

static bool disagrees(const char *line, size_t len, Error *e) {
    fail(e, ERR_CONFIG, "the script of pg_restore does not agree with its list at \"%.*s\"",
         (int)(len < 300 ? len : 300), line);
    return fail_hint(e, "name another pg_dump with schema.pg_dump");
}

/* A script being cut. */
typedef struct Cutting {
    const char *at;        /* the next mark */
    const DumpLine *lines; /* of the list, as many as there are entries */
    int next;              /* the line that is most likely the next entry's */
    Slice method;          /* the statement that chooses the tables' access method, as of here */
    Dump *out;
} Cutting;

/* The line of this header. pg_restore writes entries in the list's order, but grants and event triggers last. */
static int line_find(const Cutting *c, Slice text, Header *h) {
    int count = c->out->entry_count;
    for (int tried = 0; tried < count; tried++) {
        int line = (c->next + tried) % count;
        if (c->out->entries[line].sql == NULL && header_agrees(&c->lines[line], text, 0, h))
            return line;
    }
    return -1;
}

/* pg_restore writes it behind the entry before the one that it is for; but entries run in sessions of their own. */
static char *entry_sql(Cutting *c, Slice body, const char *type) {
    Writer sql = writer_new(body.len + c->method.len + 2);
    if (strcmp(type, "MATERIALIZED VIEW") == 0) {
        writer_bytes(&sql, c->method);
        writer_text(&sql, c->method.len > 0 ? "\n" : "");
    }
    const char *last = body.len == 0 ? NULL : memrchr(body.at, '\n', body.len);
    last = last == NULL ? body.at : last + 1;
    if (body.len > 0 && begins(last, ACCESS_METHOD)) {
        c->method = slice_from(body, last);
        body = trimmed(body.at, last);
    }
    writer_bytes(&sql, body);
    char *text = text_copy(writer_slice(&sql));
    writer_free(&sql);
    return text;
}

/* Reads the entry at the mark and moves to the next one. */
static bool entry_read(Cutting *c, Error *e) {
    const char *header = c->at + strlen(DUMP_HEADER);
    size_t len = strcspn(header, "\n");
    Header parts;
    int line = begins(header + len, "\n--\n") ? line_find(c, (Slice){header, len}, &parts) : -1;
    const char *body = header + len + strlen("\n--\n");
    const char *next = line < 0 ? NULL : dump_next_mark(body);
    if (next == NULL)
        return disagrees(header, len, e);
    DumpEntry *entry = &c->out->entries[line];
    entry->type = text_copy(parts.type);
    entry->schema = text_copy(parts.schema);
    entry->name = text_copy(parts.name);
    entry->sql = entry_sql(c, trimmed(body, next), entry->type);
    entry_hash(entry);
    c->next = line + 1;
    c->at = next;
    return true;
}

/* The head's statements, without its comments. */
static char *preamble_read(const char *head, const char *end) {
    Writer w = writer_new(PREAMBLE_MAX_BYTES);
    for (const char *line = head; line < end;) {
        size_t len = strcspn(line, "\n");
        if (len > 0 && !begins(line, "--")) {
            writer_bytes(&w, (Slice){line, len});
            writer_text(&w, "\n");
        }
        line += len + (line[len] == '\n');
    }
    char *preamble = text_copy(writer_slice(&w));
    writer_free(&w);
    return preamble;
}

static bool script_split(const DumpLine *lines, const char *text, Dump *out, Error *e) {
    Cutting c = {.at = dump_next_mark(text), .lines = lines, .out = out};
    if (c.at == NULL)
        return fail(e, ERR_CONFIG, "the script of pg_restore has no end");
    out->preamble = preamble_read(text, c.at);
    while (begins(c.at, DUMP_HEADER))
        if (!entry_read(&c, e))
            return false;
    for (int at = 0; at < out->entry_count; at++) {
        if (out->entries[at].sql == NULL)
            return disagrees(lines[at].text, lines[at].len, e);
        out->entries[at].kind = kind_of(&out->entries[at], at > 0 ? &out->entries[at - 1] : NULL);
    }
    return true;
}

static void entry_free(DumpEntry *entry) {
    free(entry->type);
    free(entry->schema);
    free(entry->name);
    free(entry->sql);
}

static void entries_free(Dump *d) {
    for (int at = 0; at < d->entry_count; at++)
        entry_free(&d->entries[at]);
    free(d->entries);
    free(d->preamble);
    d->entries = NULL;
    d->preamble = NULL;
    d->entry_count = 0;
}

bool dump_split(const char *list, const char *text, Dump *out, Error *e) {
    char *script = text_copy(slice_text(text));
    int count;
    DumpLine *lines = dump_list_read(list, &count);
    entries_free(out);
    out->entries = memory_array((size_t)count + 1, sizeof *out->entries);
    out->entry_count = count;
    bool ok = dump_script_clean(script, e) && script_split(lines, script, out, e);
    free(lines);
    free(script);
    if (!ok)
        entries_free(out);
    return ok;
}

void dump_free(Dump *d) {
    entries_free(d);
    free(d->pre_data);
    d->pre_data = NULL;
}

void dump_leave_out(Dump *d, bool (*leaves)(const void *context, const DumpEntry *entry),
                    const void *context) {
    int kept = 0;
    for (int at = 0; at < d->entry_count; at++)
        if (leaves(context, &d->entries[at]))
            entry_free(&d->entries[at]);
        else
            d->entries[kept++] = d->entries[at];
    d->entry_count = kept;
}
