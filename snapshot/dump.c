#include "snapshot/dump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/memory.h"
#include "snapshot/dump_intern.h"

#define DUMP_TEXT_MAX (1u << 30)
#define LOCK_WAIT     "--lock-wait-timeout=30000" /* milliseconds; behind a longer lock we come again */
#define LIST_FILE     "/proc/self/fd/3"
#define OWN_SCHEMA    "--exclude-schema=\"walferry\""
#define OWN_TABLES    "--exclude-table=*.dts_*"
enum {
    ARGUMENT_MAX = 4096,
    NAMES_AT_ONCE = 200,     /* in one pattern: pg_dump asks the server about each */
    PATTERN_MAX = 128 * 1024 /* the system's limit for one argument */
};

static const char SQL_UNREADABLE[] =
    "SELECT n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname), n.nspname, c.relname, c.oid"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'"
    " AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'walferry')"
    " AND c.relname NOT LIKE 'dts\\_%'"
    " AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND"
    "          pg_catalog.has_table_privilege(c.oid, 'SELECT'))"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass"
    "                 AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1";

/* One dump being taken. Its files have no name and live in memory, so that a killed process leaves nothing.
 */
typedef struct Taking {
    const DumpTool *tool;
    const Config *cfg;
    const DumpParts *parts;
    const DumpFrom *from;
    const atomic_bool *stop;
    char *dsn, *password;
    char **environment; /* the strings are borrowed, but for the first `own` ones */
    int own;
    int archive; /* what pg_dump wrote */
    DumpOmission omission;
} Taking;

static int memory_file(const char *name, Error *e) {
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        fail(e, ERR_RETRY, "a file in memory could not be made: %s", strerror(errno));
    return fd;
}

static char *joined(const char *name, const char *value) {
    Writer w = writer_new(DUMP_TEXT_MAX);
    writer_format(&w, "%s=%s", name, value);
    writer_string(&w);
    return w.at;
}

/* Ours, but for the names we set: English messages without colour to tell warnings, and the secret. */
static void environment_make(Taking *t) {
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    t->environment = memory_array(count + 5, sizeof *t->environment);
    t->environment[t->own++] = joined("LC_ALL", "C");
    t->environment[t->own++] = joined("PG_COLOR", "never");
    Writer name = writer_new(ARGUMENT_MAX);
    writer_format(&name, "walferry_%s", t->cfg->name);
    t->environment[t->own++] = joined("PGAPPNAME", writer_string(&name));
    writer_free(&name);
    if (t->password[0] != '\0')
        t->environment[t->own++] = joined("PGPASSWORD", t->password);
    size_t used = (size_t)t->own;
    for (size_t at = 0; at < count; at++) {
        bool ours = false;
        for (int own = 0; own < t->own; own++) {
            size_t len = strcspn(t->environment[own], "=") + 1;
            ours = ours || strncmp(environ[at], t->environment[own], len) == 0;
        }
        if (!ours)
            t->environment[used++] = environ[at];
    }
}

static bool taking_begin(Taking *t, Error *e) {
    t->archive = memory_file("walferry-dump", e);
    if (t->archive < 0 || !pg_dsn_split(t->from->dsn, &t->dsn, &t->password, e))
        return false;
    environment_make(t);
    return true;
}

static void taking_end(Taking *t) {
    for (int own = 0; own < t->own; own++)
        pg_forget(t->environment[own]);
    free(t->environment);
    free(t->dsn);
    if (t->password != NULL)
        pg_forget(t->password);
    free(t->omission.numbers);
    if (t->archive >= 0)
        close(t->archive);
}

/* A name as one of pg_dump's patterns: in quotes it stands for itself. */
static void write_pattern(Writer *w, const char *name) {
    writer_u8(w, '"');
    for (; *name != '\0'; name++) {
        if (*name == '"')
            writer_u8(w, '"');
        writer_u8(w, (uint8_t)*name);
    }
    writer_u8(w, '"');
}

static char *pattern_of(const char *option, const char *schema, const char *name) {
    Writer w = writer_new(ARGUMENT_MAX);
    writer_text(&w, option);
    write_pattern(&w, schema);
    if (name != NULL) {
        writer_text(&w, ".");
        write_pattern(&w, name);
    }
    writer_string(&w);
    return w.at;
}

static char *option_of(const char *option, const char *value) {
    Writer w = writer_new(DUMP_TEXT_MAX);
    writer_format(&w, "%s%s", option, value);
    writer_string(&w);
    return w.at;
}

/* "--exclude-table="s"."a"|"b"|…": outside of quotes "|" is that of a regular expression. */
static int exclusion_write(Writer *w, const PGresult *names, int from) {
    const char *schema = pg_cell(names, from, 0);
    int at = from;
    writer_text(w, "--exclude-table=");
    write_pattern(w, schema);
    for (; at < PQntuples(names) && at < from + NAMES_AT_ONCE && strcmp(pg_cell(names, at, 0), schema) == 0;
         at++) {
        writer_text(w, at == from ? "." : "|");
        write_pattern(w, pg_cell(names, at, 1));
    }
    return at;
}

/* What is not fixed, of malloc. */
static int arguments_make(const Taking *t, char **out) {
    int count = 0;
    const PGresult *locked = t->parts->unreadable, *there = t->parts->relations_there;
    out[count++] = pattern_of("--exclude-schema=", t->cfg->target.state_schema, NULL);
    out[count++] =
        pattern_of("--exclude-table=", t->cfg->source.heartbeat_schema, t->cfg->source.heartbeat_table);
    out[count++] = option_of("--dbname=", t->dsn);
    if (t->from->snapshot != NULL)
        out[count++] = option_of("--snapshot=", t->from->snapshot);
    for (int row = 0; row < PQntuples(locked); row++)
        out[count++] = pattern_of("--exclude-table=", pg_cell(locked, row, UNREADABLE_SCHEMA),
                                  pg_cell(locked, row, UNREADABLE_TABLE));
    for (int row = 0; row < PQntuples(there);) {
        Writer pattern = writer_new(PATTERN_MAX);
        row = exclusion_write(&pattern, there, row);
        writer_string(&pattern);
        out[count++] = pattern.at;
    }
    return count;
}

static bool archive_take(const Taking *t, Error *e) {
    static const char *const fixed[] = {"--format=custom",
                                        "--compress=0",
                                        "--schema-only",
                                        "--encoding=UTF8",
                                        "--no-publications",
                                        "--no-subscriptions",
                                        "--no-security-labels",
                                        "--no-password",
                                        LOCK_WAIT,
                                        OWN_SCHEMA,
                                        OWN_TABLES};
    enum { FIXED = sizeof fixed / sizeof *fixed, MADE_MAX = 4 };
    size_t most = FIXED + MADE_MAX + (size_t)PQntuples(t->parts->unreadable) +
                  (size_t)PQntuples(t->parts->relations_there) + 3,
           count = 0;
    const char **arguments = memory_array(most, sizeof *arguments);
    char **made = memory_array(most, sizeof *made);
    arguments[count++] = t->tool->pg_dump;
    for (int at = 0; at < FIXED; at++)
        arguments[count++] = fixed[at];
    int made_count = arguments_make(t, made);
    for (int at = 0; at < made_count; at++)
        arguments[count++] = made[at];
    if (!t->parts->privileges)
        arguments[count++] = "--no-privileges";
    DumpChild child = {.arguments = arguments,
                       .environment = t->environment,
                       .input = -1,
                       .output = t->archive,
                       .extra = -1,
                       .stop = t->stop};
    bool ok = dump_run(&child, NULL, e);
    for (int at = 0; at < made_count; at++)
        free(made[at]);
    free(made);
    free(arguments);
    return ok;
}

/* pg_restore over the archive: its list of the section (list = -1), or the script of what `list` names. Without a section
 * the whole list, and what its entries depend on. */
static bool restore_run(const Taking *t, const char *section, int list, Writer *text, Error *e) {
    const char *const listing[] = {t->tool->pg_restore, "--list", section == NULL ? "--verbose" : section,
                                   NULL};
    const char *const script[] = {t->tool->pg_restore,
                                  "--no-tablespaces",
                                  section,
                                  "--use-list=" LIST_FILE,
                                  "--file=-",
                                  t->parts->owners ? NULL : "--no-owner",
                                  NULL};
    DumpChild child = {.arguments = list < 0 ? listing : script,
                       .environment = t->environment,
                       .input = t->archive,
                       .output = -1,
                       .extra = list,
                       .stop = t->stop};
    if (lseek(t->archive, 0, SEEK_SET) != 0)
        return fail(e, ERR_RETRY, "the dump could not be read: %s", strerror(errno));
    return dump_run(&child, text, e);
}

static bool write_all(int fd, Slice bytes, Error *e) {
    while (bytes.len > 0) {
        ssize_t written = write(fd, bytes.at, bytes.len);
        if (written < 0 && errno != EINTR)
            return fail(e, ERR_RETRY, "the dump's list could not be written: %s", strerror(errno));
        if (written > 0)
            bytes = (Slice){bytes.at + written, bytes.len - (size_t)written};
    }
    return true;
}

/* The section's entries that are restored, as a list and as a script. */
static bool section_take(const Taking *t, const char *section, Writer *list, Writer *script, Error *e) {
    Writer all = writer_new(DUMP_TEXT_MAX);
    bool ok = restore_run(t, section, -1, &all, e);
    if (ok)
        dump_list_filter(writer_string(&all), t->parts, &t->omission, list);
    writer_free(&all);
    if (!ok)
        return false;
    int file = memory_file("walferry-list", e);
    if (file < 0)
        return false;
    ok = write_all(file, writer_slice(list), e) && restore_run(t, section, file, script, e);
    close(file);
    return ok;
}

static bool omission_take(Taking *t, Error *e) {
    if (t->parts->choice == NULL)
        return true;
    Writer all = writer_new(DUMP_TEXT_MAX);
    bool ok = restore_run(t, NULL, -1, &all, e);
    if (ok)
        t->omission = dump_list_omit(writer_string(&all), t->parts->choice);
    writer_free(&all);
    return ok;
}

static bool pre_data_take(const Taking *t, Dump *out, Error *e) {
    Writer list = writer_new(DUMP_TEXT_MAX), script = writer_new(DUMP_TEXT_MAX);
    bool ok = section_take(t, "--section=pre-data", &list, &script, e);
    writer_free(&list);
    writer_string(&script);
    ok = ok && dump_script_clean(script.at, e);
    if (ok && t->parts->choice != NULL) {
        script.len = strlen(script.at); /* cleaning has shortened it */
        writer_text(&script, choice_columns_sql(t->parts->choice));
        writer_string(&script);
    }
    if (ok)
        out->pre_data = script.at;
    else
        writer_free(&script);
    return ok;
}

static bool post_data_take(const Taking *t, Dump *out, Error *e) {
    Writer list = writer_new(DUMP_TEXT_MAX), script = writer_new(DUMP_TEXT_MAX);
    bool ok = section_take(t, "--section=post-data", &list, &script, e) &&
              dump_split(writer_string(&list), writer_string(&script), out, e);
    writer_free(&list);
    writer_free(&script);
    return ok;
}

bool dump_take(const DumpTool *tool, const Config *cfg, const DumpParts *parts, const DumpFrom *from,
               const atomic_bool *stop, Dump *out, Error *e) {
    Taking t = {.tool = tool, .cfg = cfg, .parts = parts, .from = from, .stop = stop, .archive = -1};
    memset(out, 0, sizeof *out);
    bool ok = taking_begin(&t, e) && archive_take(&t, e) && omission_take(&t, e) &&
              pre_data_take(&t, out, e) && post_data_take(&t, out, e);
    taking_end(&t);
    if (!ok)
        dump_free(out);
    return ok;
}

PGresult *dump_unreadable(Pg *source, Error *e) {
    return pg_query(source, SQL_UNREADABLE, 0, NULL, e);
}
