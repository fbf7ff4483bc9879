/* dump_intern: what the files of the dump share. For them and their tests; everybody else uses
 * snapshot/dump.h. */
#ifndef WALFERRY_SNAPSHOT_DUMP_INTERN_H
#define WALFERRY_SNAPSHOT_DUMP_INTERN_H

#include "core/bytes.h"
#include "snapshot/dump.h"

/* One child process: what it runs and where its standard streams go. Its stderr is always read by us. */
typedef struct DumpChild {
    const char *const *arguments; /* the first is the program's path; NULL at the end */
    char *const *environment;     /* NULL: ours */
    int input;                    /* becomes descriptor 0; -1: /dev/null */
    int output;                   /* becomes descriptor 1; -1: a pipe that is read into the caller's writer */
    int extra;                    /* becomes descriptor 3; -1: none */
    const atomic_bool *stop;      /* NULL: nobody will ask */
} DumpChild;

/* Runs it to its end. Lines of stderr with "warning:" are logged; the last other ones are in the error when
 * the exit code is not 0. The child gets SIGTERM when our calling thread dies in whatever way. `text` may be
 * NULL when `output` is a descriptor. */
bool dump_run(const DumpChild *child, Writer *text, Error *e);
/* The kind that a failed child's last lines stand for: texts that libpq and pg_dump themselves write. */
ErrorKind dump_run_kind(const char *last_lines);

/* The major version in the output of --version, 0 when there is none. */
int dump_tool_version(const char *text);
/* Which versions a choice is about. */
typedef struct DumpWish {
    int source_major, target_major;
} DumpWish;
/* dump_choose with `auto`; `path` as the variable PATH, `versions_dir` as /usr/lib/postgresql. */
bool dump_choose_among(const char *path, const char *versions_dir, DumpWish wish, DumpTool *out, Error *e);

/* Removes, in place, what psql understands and a server does not: the line "\restrict TOKEN" at the script's
 * head and "\unrestrict TOKEN" at its end; also "SET transaction_timeout" in the head, which servers before 17 do not
 * know and which our sessions set themselves, and the column option pg_attver, which is no option. */
bool dump_script_clean(char *text, Error *e);

/* A line of the list is "3343; 2606 16529 CONSTRAINT public excl excl_r_excl owner": after the three numbers
 * the type, schema, name and owner, any of which may contain blanks. Others are comments. */
typedef struct DumpLine {
    const char *text;                   /* the whole line */
    size_t len;                         /* without its newline */
    unsigned long number, catalog, oid; /* the first one is the archive's own */
    const char *rest;                   /* behind the numbers */
} DumpLine;

/* The list's entries; of malloc, pointing into the list. */
DumpLine *dump_list_read(const char *list, int *count);
/* Which entries a choice leaves out, by their numbers in the archive. */
typedef struct DumpOmission {
    unsigned long count;
    bool *numbers;
} DumpOmission;
/* From a whole `pg_restore --list --verbose`, which says what each entry depends on: so it is known whose an entry without
 * an object of its own is (a comment, a grant, an attachment). `numbers` is of malloc. */
DumpOmission dump_list_omit(const char *list, const Choice *choice);
/* The lines of a `pg_restore --list` that are restored: never publications, subscriptions and comments on extensions;
 * event triggers and what is about the schema `public` as `parts` says; nothing of `omission` (NULL: none). */
void dump_list_filter(const char *list, const DumpParts *parts, const DumpOmission *omission, Writer *out);

#endif
