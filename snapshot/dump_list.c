#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "snapshot/dump_intern.h"

static const unsigned PUBLIC_SCHEMA_OID = 2200,
                      SCHEMAS_OID = 2615; /* pg_namespace; fixed numbers of the server */

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
        out->number = strtoul(out->text, NULL, 10);
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
    DumpLine *out = memory_array(lines, sizeof *out);
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

/* ---- what a choice leaves out ---- */

#define DEPENDS ";\tdepends on:"

static bool is_omitted(const DumpOmission *omission, unsigned long number) {
    return number < omission->count && omission->numbers[number];
}

/* Whether an entry that the text behind its line says it depends on is left out. */
static bool depends_on_omitted(const DumpOmission *omission, const char *behind) {
    if (!begins(behind, DEPENDS))
        return false;
    const char *at = behind + strlen(DEPENDS), *end = at + strcspn(at, "\n");
    while (at < end) {
        char *next;
        unsigned long number = strtoul(at, &next, 10);
        if (next == at)
            break;
        if (is_omitted(omission, number))
            return true;
        at = next;
    }
    return false;
}

static bool line_ends(const DumpLine *line, Slice with) {
    size_t rest = line->len - (size_t)(line->rest - line->text);
    return rest >= with.len && memcmp(line->text + line->len - with.len, with.at, with.len) == 0;
}

/* Those of which the archive does not say whose they are: their names do. */
static void omit_nameless(const DumpLine *lines, int count, DumpOmission *omission) {
    static const char shell[] = "SHELL TYPE ", type[] = "TYPE ", mapping[] = "USER MAPPING ",
                      server[] = "SERVER - ";
    for (int at = 0; at < count; at++) {
        bool is_shell = begins(lines[at].rest, shell);
        if (lines[at].catalog != 0 || (!is_shell && !begins(lines[at].rest, mapping)))
            continue;
        const char *whose = is_shell ? type : server;
        for (int other = 0; other < count; other++) {
            const DumpLine *owner = &lines[other];
            if (!is_omitted(omission, owner->number) || !begins(owner->rest, whose))
                continue;
            const char *name = owner->rest + strlen(whose);
            if (line_ends(&lines[at], (Slice){name, (size_t)(owner->text + owner->len - name)}))
                omission->numbers[lines[at].number] = true;
        }
    }
}

DumpOmission dump_list_omit(const char *list, const Choice *choice) {
    int count;
    DumpLine *lines = dump_list_read(list, &count);
    DumpOmission omission = {0};
    for (int at = 0; at < count; at++)
        if (lines[at].number >= omission.count)
            omission.count = lines[at].number + 1;
    /* The schema itself is no entry. */
    bool no_public = choice_leaves_out(choice, SCHEMAS_OID, PUBLIC_SCHEMA_OID);
    omission.numbers = memory_array(omission.count + 1, sizeof *omission.numbers);
    for (int at = 0; at < count; at++) {
        const DumpLine *line = &lines[at];
        const char *behind = line->text + line->len + (line->text[line->len] == '\n');
        omission.numbers[line->number] =
            line->catalog != 0
                ? choice_leaves_out(choice, (uint32_t)line->catalog, (uint32_t)line->oid)
                : depends_on_omitted(&omission, behind) || (no_public && is_about(line, "SCHEMA public "));
    }
    omit_nameless(lines, count, &omission);
    free(lines);
    return omission;
}

void dump_list_filter(const char *list, const DumpParts *parts, const DumpOmission *omission, Writer *out) {
    DumpLine line;
    while (line_next(&list, &line)) {
        if (is_left_out(&line, parts) || (omission != NULL && is_omitted(omission, line.number)))
            continue;
        writer_bytes(out, (Slice){line.text, line.len});
        writer_text(out, "\n");
    }
}
