#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/pg.h"
#include "job/units.h"

static const char *const SCHEMAS_SQL =
    "SELECT n.nspname, count(*), coalesce(sum(pg_table_size(c.oid)), 0)::bigint,"
    " coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'"
    " AND n.nspname NOT IN ('information_schema', 'walferry') AND c.relname !~ '^dts_'"
    " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
    " AND d.deptype = 'e')"
    " GROUP BY n.nspname ORDER BY n.nspname";

enum { FILE_BYTES_MAX = 1024 * 1024 };

/* A text in YAML's double quotes. */
static void yaml_write(Writer *out, const char *text) {
    writer_text(out, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            writer_text(out, "\\");
        writer_bytes(out, (Slice){text, 1});
    }
    writer_text(out, "\"");
}

/* The DSN with a place for the password instead of the password. */
static bool dsn_write(Writer *out, const char *dsn, const char *variable, Error *e) {
    char *without = NULL, *password = NULL;
    if (!pg_dsn_split(dsn, &without, &password, e))
        return false;
    if (*password == '\0') {
        writer_text(out, "  # the password: ~/.pgpass, PGPASSWORD or a service file\n  dsn: ");
        yaml_write(out, dsn);
    } else {
        Writer whole = writer_new(FILE_BYTES_MAX);
        writer_format(&whole, "%s password='${%s}'", without, variable);
        writer_format(
            out,
            "  # the password is not kept here: set %s before each command (' and \\ in it as \\' and "
            "\\\\),\n  # or leave password=… out and use ~/.pgpass\n  dsn: ",
            variable);
        yaml_write(out, writer_string(&whole));
        writer_free(&whole);
    }
    writer_text(out, "\n");
    free(without);
    pg_forget(password);
    return true;
}

static void found_write(Writer *out, const PGresult *found) {
    writer_text(out, "\n# found on the source, indexes not counted:\n");
    for (int row = 0; row < PQntuples(found); row++)
        writer_format(out, "#   %s: %s tables, %s, about %s rows\n", pg_cell(found, row, 0),
                      UNIT_COUNT(pg_cell_int(found, row, 1)), UNIT_BYTES(pg_cell_int(found, row, 2)),
                      UNIT_COUNT(pg_cell_int(found, row, 3)));
    if (PQntuples(found) == 0)
        writer_text(out, "#   no tables\n");
    writer_text(out, "# all of them are taken\n");
}

static bool job_write(Writer *out, const Config *cfg, const PGresult *found, Error *e) {
    writer_format(out,
                  "# A job of walferry. \"walferry check\" this file, then \"walferry run\" it.\n"
                  "# Every key, with its default: walferry help keys\n\n"
                  "name: %s   # slot and publication on the source: %s\n\nsource:\n",
                  cfg->name, cfg->slot);
    if (!dsn_write(out, cfg->source.dsn, "WALFERRY_SOURCE_PASSWORD", e))
        return false;
    writer_text(out, "\ntarget:\n");
    if (!dsn_write(out, cfg->target.dsn, "WALFERRY_TARGET_PASSWORD", e))
        return false;
    writer_text(out, "\nphases: [schema, full, incremental]\n");
    found_write(out, found);
    writer_format(out,
                  "\n# tables without a key: fail | full (REPLICA IDENTITY FULL is set) | insert-only\n"
                  "identity: fail\n"
                  "\nload:\n  workers: %d   # tables copied at a time\n"
                  "\nretry:\n  connection: 720min   # how long a lost connection is tried again\n"
                  "  other: 10min\n",
                  cfg->load.workers);
    return true;
}

static bool source_read(const Config *cfg, int64_t wait_ms, Writer *out, Error *e) {
    PgAddress address = {.dsn = cfg->source.dsn, .side = "source", .job = cfg->name};
    Pg *pg = pg_open_wait(&address, wait_ms, e);
    PGresult *found = pg != NULL ? pg_query(pg, SCHEMAS_SQL, 0, NULL, e) : NULL;
    bool ok = found != NULL && job_write(out, cfg, found, e);
    PQclear(found);
    pg_close(pg);
    return ok;
}

static bool file_failed(const char *path, int cause, Error *e) {
    fail(e, ERR_CONFIG, "cannot write \"%s\": %s", path, strerror(cause));
    return cause == EEXIST &&
           fail_hint(e, "an existing file is never written over; name another one with -o");
}

static bool file_write(const char *path, Slice text, Error *e) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_failed(path, errno, e);
    ssize_t written = write(fd, text.at, text.len);
    int cause = written < 0 ? errno : ENOSPC;
    if (close(fd) == 0 && written == (ssize_t)text.len)
        return true;
    unlink(path);
    return file_failed(path, cause, e);
}

static bool init(const Arguments *arguments, const Config *cfg, Writer *text, Error *e) {
    char path[JOB_NAME_MAX + 6];
    snprintf(path, sizeof path, "%s.yaml", cfg->name);
    if (cfg->source.dsn == NULL || cfg->target.dsn == NULL) {
        fail(e, ERR_CONFIG, "\"init\" needs both databases");
        return fail_hint(e, "walferry init --source URI --target URI");
    }
    if (!source_read(cfg, arguments->wait_ms, text, e))
        return false;
    const char *to = arguments->output != NULL ? arguments->output : path;
    if (strcmp(to, "-") == 0) {
        fputs(writer_string(text), stdout);
        return true;
    }
    if (!file_write(to, writer_slice(text), e))
        return false;
    printf("wrote %s; next: walferry check %s\n", to, to);
    return true;
}

int cmd_init(const Arguments *arguments) {
    Error e = {0};
    Writer text = writer_new(FILE_BYTES_MAX);
    Config *cfg = arguments_config(arguments, 0, true, &e);
    bool ok = cfg != NULL && init(arguments, cfg, &text, &e);
    writer_free(&text);
    config_free(cfg);
    return ok ? EXIT_DONE : cli_failed(&e);
}
