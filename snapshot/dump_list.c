#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/dump_intern.h"

static const unsigned PUBLIC_SCHEMA_OID = 2200;

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static const char *skip_number(const char *at, const char *behind) {
    const char *end = at;
    while (isdigit((unsigned char)*end))
        end++;
    return end > at && begins(end, behind) ? end + strlen(behind) : NULL;
}

/* Reads the next line that is an entry and moves behind it; false at the end. */
static bool line_next(const char **at, DumpLine *out) {
    while (**at != '\0') {
        *out = (DumpLine){.text = *at, .len = strcspn(*at, "\n")};
        const char *table = skip_number(*at, "; ");
        const char *oid = table == NULL ? NULL : skip_number(table, " ");
        *at += out->len + ((*at)[out->len] == '\n');
        out->rest = oid == NULL ? NULL : skip_number(oid, " ");
        if (out->rest == NULL)
            continue;
        out->catalog = strtoul(table, NULL, 10);
        out->oid = strtoul(oid, NULL, 10);
        return true;
    }
    return false;
}

DumpLine *dump_list_read(const char *list, int *count) {
    size_t lines = 1;
    for (const char *at = list; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    DumpLine *out = calloc(lines, sizeof *out);
    assert(out != NULL);
    for (*count = 0; line_next(&list, &out[*count]);)
        ++*count;
    return out;
}

/* A schema of the name "public" and not one whose name only begins so: its owner is the last word of the
 * line. */
static bool is_public_schema(const DumpLine *line) {
    static const char prefix[] = "SCHEMA - public ";
    if (!begins(line->rest, prefix))
        return false;
    const char *owner = line->rest + strlen(prefix);
    return line->oid == PUBLIC_SCHEMA_OID ||
           memchr(owner, ' ', (size_t)(line->text + line->len - owner)) == NULL;
}

static bool is_about(const DumpLine *line, const char *thing) {
    static const char *const about[] = {"COMMENT - ", "SECURITY LABEL - ", "ACL - "};
    for (size_t prefix = 0; prefix < sizeof about / sizeof about[0]; prefix++)
        if (begins(line->rest, about[prefix]) && begins(line->rest + strlen(about[prefix]), thing))
            return true;
    return false;
}

/* By a search in the ordered rows. */
static bool is_there(const DumpLine *line, const PGresult *objects) {
    int low = 0, high = objects == NULL ? 0 : PQntuples(objects);
    while (low < high) {
        int middle = low + (high - low) / 2;
        unsigned long catalog = (unsigned long)pg_cell_int(objects, middle, 0),
                      oid = (unsigned long)pg_cell_int(objects, middle, 1);
        if (catalog == line->catalog && oid == line->oid)
            return true;
        if (line->catalog < catalog || (line->catalog == catalog && line->oid < oid))
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

static bool is_left_out(const DumpLine *line, const DumpParts *parts) {
    if (begins(line->rest, "PUBLICATION ") || begins(line->rest, "SUBSCRIPTION ") ||
        is_about(line, "PUBLICATION ") || is_about(line, "SUBSCRIPTION ") || is_about(line, "EXTENSION ") ||
        is_there(line, parts->objects_there))
        return true;
    if (begins(line->rest, "EVENT TRIGGER ") || is_about(line, "EVENT TRIGGER "))
        return !parts->event_triggers;
    /* The schema is there already: its entry only gives it an owner. */
    if (is_public_schema(line))
        return !parts->public_schema || !parts->owners;
    return is_about(line, "SCHEMA public ") && !parts->public_schema;
}

void dump_list_filter(const char *list, const DumpParts *parts, Writer *out) {
    DumpLine line;
    while (line_next(&list, &line)) {
        if (is_left_out(&line, parts))
            continue;
        writer_bytes(out, (Slice){line.text, line.len});
        writer_text(out, "\n");
    }
}
