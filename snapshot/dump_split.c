#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "snapshot/dump_intern.h"
#include "snapshot/dump_lexer.h"

enum { PREAMBLE_MAX_BYTES = 65536 };
static const unsigned PUBLIC_SCHEMA_OID = 2200;

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static char *text_copy(Slice s) {
    char *copy = malloc(s.len + 1);
    assert(copy != NULL);
    if (s.len > 0)
        memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return copy;
}

/* ---- the list ---- */

/* A line of the list is "3343; 2606 16529 CONSTRAINT public excl excl_r_excl owner": after the three numbers
 * the type, schema, name and owner, any of which may contain blanks. Others are comments, or damaged. */
typedef struct ListLine {
    const char *text; /* the whole line */
    size_t len;       /* without its newline */
    unsigned long oid;
    const char *rest; /* behind the numbers; NULL: no entry */
} ListLine;

static const char *skip_number(const char *at, const char *behind) {
    const char *end = at;
    while (isdigit((unsigned char)*end))
        end++;
    return end > at && begins(end, behind) ? end + strlen(behind) : NULL;
}

/* Reads the line at *at and moves behind it; false at the end. */
static bool list_next(const char **at, ListLine *out) {
    if (**at == '\0')
        return false;
    *out = (ListLine){.text = *at, .len = strcspn(*at, "\n")};
    const char *table = skip_number(*at, "; ");
    const char *oid = table == NULL ? NULL : skip_number(table, " ");
    if (oid != NULL) {
        out->rest = skip_number(oid, " ");
        out->oid = strtoul(oid, NULL, 10);
    }
    *at += out->len + ((*at)[out->len] == '\n');
    return true;
}

/* A schema of the name "public" and not one whose name only begins so: its owner is the last word of the
 * line. */
static bool is_public_schema(const ListLine *line) {
    static const char prefix[] = "SCHEMA - public ";
    if (!begins(line->rest, prefix))
        return false;
    const char *owner = line->rest + strlen(prefix);
    return line->oid == PUBLIC_SCHEMA_OID ||
           memchr(owner, ' ', (size_t)(line->text + line->len - owner)) == NULL;
}

static bool is_left_out(const ListLine *line) {
    static const char *const types[] = {"EVENT TRIGGER ", "PUBLICATION ", "SUBSCRIPTION "};
    static const char *const about[] = {"COMMENT - ", "SECURITY LABEL - ", "ACL - "};
    static const char *const things[] = {"EXTENSION ", "EVENT TRIGGER ", "PUBLICATION ", "SUBSCRIPTION ",
                                         "SCHEMA public "};
    for (size_t type = 0; type < sizeof types / sizeof types[0]; type++)
        if (begins(line->rest, types[type]))
            return true;
    for (size_t prefix = 0; prefix < sizeof about / sizeof about[0]; prefix++)
        for (size_t thing = 0; thing < sizeof things / sizeof things[0]; thing++)
            if (begins(line->rest, about[prefix]) &&
                begins(line->rest + strlen(about[prefix]), things[thing]))
                return true;
    return is_public_schema(line);
}

void dump_list_filter(const char *list, Writer *out) {
    ListLine line;
    while (list_next(&list, &line)) {
        if (line.rest == NULL || is_left_out(&line))
            continue;
        writer_bytes(out, (Slice){line.text, line.len});
        writer_text(out, "\n");
    }
}

/* ---- the script ---- */

/* Do the list's line and these three parts of a header name the same entry? */
static bool parts_agree(const ListLine *line, Slice type, Slice schema, Slice name) {
    const Slice parts[] = {type, schema, name};
    const char *at = line->rest, *end = line->text + line->len;
    for (int part = 0; part < 3; part++) {
        size_t len = parts[part].len;
        if ((size_t)(end - at) <= len || strncmp(at, parts[part].at, len) != 0 || at[len] != ' ')
            return false;
        at += len + 1;
    }
    return at < end;
}

static const char *find_in(Slice text, const char *what) {
    return text.len == 0 ? NULL : memmem(text.at, text.len, what, strlen(what));
}

static Slice slice_from(Slice whole, const char *at) {
    return (Slice){at, whole.len - (size_t)(at - whole.at)};
}

static bool schema_agrees(const ListLine *line, Slice name, Slice tail, DumpEntry *out) {
    static const char mark[] = "; Schema: ";
    for (const char *at = find_in(tail, mark); at != NULL; at = find_in(slice_from(tail, at + 1), mark)) {
        Slice type = {tail.at, (size_t)(at - tail.at)};
        Slice schema = slice_from(tail, at + strlen(mark));
        if (!parts_agree(line, type, schema, name))
            continue;
        out->type = text_copy(type);
        out->schema = text_copy(schema);
        out->name = text_copy(name);
        return true;
    }
    return false;
}

/* Takes "NAME; Type: TYPE; Schema: SCHEMA; Owner: -" apart. A name may contain the marks itself: that way of
 * cutting is taken which gives what the list says. */
static bool header_agrees(const ListLine *line, Slice header, DumpEntry *out) {
    static const char mark[] = "; Type: ", owner[] = "; Owner: -";
    if (header.len < strlen(owner) ||
        memcmp(header.at + header.len - strlen(owner), owner, strlen(owner)) != 0)
        return false;
    header.len -= strlen(owner);
    for (const char *at = find_in(header, mark); at != NULL; at = find_in(slice_from(header, at + 1), mark)) {
        Slice name = {header.at, (size_t)(at - header.at)};
        if (schema_agrees(line, name, slice_from(header, at + strlen(mark)), out))
            return true;
    }
    return false;
}

static DumpKind kind_of_type(const char *type) {
    static const struct {
        const char *type;
        DumpKind kind;
    } kinds[] = {
        {"INDEX", DUMP_INDEX},      {"INDEX ATTACH", DUMP_INDEX},        {"CONSTRAINT", DUMP_INDEX},
        {"STATISTICS", DUMP_INDEX}, {"FK CONSTRAINT", DUMP_FOREIGN_KEY}, {"TRIGGER", DUMP_TRIGGER},
    };
    for (size_t at = 0; at < sizeof kinds / sizeof kinds[0]; at++)
        if (strcmp(type, kinds[at].type) == 0)
            return kinds[at].kind;
    return DUMP_OTHER;
}

/* A comment can only run after what it is about, so comments on foreign keys and triggers share their kind.
 * pg_dump writes the comment on a constraint right behind the constraint. */
static DumpKind kind_of(const DumpEntry *entry, const DumpEntry *before) {
    if (strcmp(entry->type, "COMMENT") != 0)
        return kind_of_type(entry->type);
    if (begins(entry->name, "TRIGGER "))
        return DUMP_TRIGGER;
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

static bool disagrees(const ListLine *line, Error *e) {
    fail(e, ERR_CONFIG, "the script of pg_restore does not agree with its list at \"%.*s\"",
         (int)(line->len < 300 ? line->len : 300), line->text);
    return fail_hint(e, "name another pg_dump with schema.pg_dump");
}

/* Reads the entry at *at, which must be the one of this line, and moves to the next mark. */
static bool entry_read(const char **at, const ListLine *line, Dump *out, Error *e) {
    DumpEntry *entry = &out->entries[out->entry_count];
    const char *header = *at + strlen(DUMP_HEADER);
    size_t header_len = strcspn(header, "\n");
    if (!begins(*at, DUMP_HEADER) || !begins(header + header_len, "\n--\n") ||
        !header_agrees(line, (Slice){header, header_len}, entry))
        return disagrees(line, e);
    const char *body = header + header_len + strlen("\n--\n");
    const char *next = dump_next_mark(body);
    out->entry_count++;
    if (next == NULL)
        return disagrees(line, e);
    entry->sql = text_copy(trimmed(body, next));
    entry->kind = kind_of(entry, out->entry_count > 1 ? entry - 1 : NULL);
    entry_hash(entry);
    *at = next;
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

static bool script_split(const char *list, const char *text, Dump *out, Error *e) {
    const char *at = dump_next_mark(text);
    if (at == NULL)
        return fail(e, ERR_CONFIG, "the script of pg_restore has no end");
    out->preamble = preamble_read(text, at);
    ListLine line;
    while (list_next(&list, &line))
        if (line.rest != NULL && !entry_read(&at, &line, out, e))
            return false;
    if (!begins(at, DUMP_END))
        return fail(e, ERR_CONFIG, "the script of pg_restore has more entries than its list");
    return true;
}

static size_t list_count(const char *list) {
    size_t count = 0;
    ListLine line;
    while (list_next(&list, &line))
        count += line.rest != NULL;
    return count;
}

static void entries_free(Dump *d) {
    for (int at = 0; at < d->entry_count; at++) {
        free(d->entries[at].type);
        free(d->entries[at].schema);
        free(d->entries[at].name);
        free(d->entries[at].sql);
    }
    free(d->entries);
    free(d->preamble);
    d->entries = NULL;
    d->preamble = NULL;
    d->entry_count = 0;
}

bool dump_split(const char *list, const char *text, Dump *out, Error *e) {
    char *script = text_copy(slice_text(text));
    entries_free(out);
    out->entries = calloc(list_count(list) + 1, sizeof *out->entries);
    assert(out->entries != NULL);
    bool ok = dump_script_clean(script, e) && script_split(list, script, out, e);
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
