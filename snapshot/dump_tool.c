#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/limit.h"
#include "snapshot/dump_intern.h"

#define VERSIONS_DIR "/usr/lib/postgresql" /* Debian keeps one folder for each major version here */
enum { VERSION_TEXT_MAX = 4096 };

int dump_tool_version(const char *text) {
    const char *mark = strstr(text, "(PostgreSQL) ");
    if (mark == NULL)
        return 0;
    int major = 0;
    for (const char *at = mark + strlen("(PostgreSQL) "); isdigit((unsigned char)*at) && major < 10000; at++)
        major = major * 10 + (*at - '0');
    return major;
}

static bool version_ask(const char *program, int *version, Error *e) {
    const char *const arguments[] = {program, "--version", NULL};
    DumpChild child = {.arguments = arguments, .input = -1, .output = -1, .extra = -1};
    Writer text = writer_new(VERSION_TEXT_MAX);
    bool ok = dump_run(&child, &text, e);
    *version = ok ? dump_tool_version(writer_string(&text)) : 0;
    if (ok && *version == 0)
        ok = fail(e, ERR_CONFIG, "\"%s\" does not say its version", program);
    writer_free(&text);
    return ok;
}

/* pg_restore is taken from the same folder and must be of the same version: it reads what the other one
 * writes. */
static bool tool_probe(const char *pg_dump, DumpTool *out, Error *e) {
    const char *slash = strrchr(pg_dump, '/');
    int folder = slash == NULL ? 0 : (int)(slash + 1 - pg_dump);
    if (strlen(pg_dump) + strlen("pg_restore") >= sizeof out->pg_dump)
        return fail(e, ERR_CONFIG, "the path \"%.100s…\" is too long", pg_dump);
    snprintf(out->pg_dump, sizeof out->pg_dump, "%s", pg_dump);
    snprintf(out->pg_restore, sizeof out->pg_restore, "%.*spg_restore", folder, pg_dump);
    int restore_version = 0;
    if (!version_ask(out->pg_dump, &out->version, e) || !version_ask(out->pg_restore, &restore_version, e))
        return false;
    if (restore_version != out->version)
        return fail(e, ERR_CONFIG, "\"%s\" is of version %d, but \"%s\" of %d", out->pg_dump, out->version,
                    out->pg_restore, restore_version);
    return true;
}

/* Debian's /usr/bin/pg_dump is a wrapper that chooses a version by itself, and may choose another one each
 * time; the real programs are in the versions' folders. */
static bool is_wrapper(const char *program) {
    char *real = realpath(program, NULL);
    const char *slash = real == NULL ? NULL : strrchr(real, '/');
    bool wrapper = slash != NULL && strcmp(slash + 1, "pg_wrapper") == 0;
    free(real);
    return wrapper;
}

/* One that cannot read the source is taken only to be named in the complaint. A server reads what an older pg_dump
 * writes, and not always what a newer one does. */
static bool is_better(const DumpTool *found, const DumpTool *best, DumpWish wish) {
    bool reads = found->version >= wish.source_major, best_reads = best->version >= wish.source_major;
    bool fits = found->version <= wish.target_major, best_fits = best->version <= wish.target_major;
    if (reads != best_reads)
        return reads;
    if (!reads || (fits && best_fits))
        return found->version > best->version;
    return fits || (!best_fits && found->version < best->version);
}

/* Takes `program` when it is better than what `best` holds; programs that do not work are no candidates: `why`
 * says what became of the last one. */
static void tool_consider(const char *program, DumpWish wish, DumpTool *best, Error *why) {
    DumpTool found;
    if (access(program, X_OK) != 0 || is_wrapper(program))
        return;
    if (tool_probe(program, &found, why) && is_better(&found, best, wish))
        *best = found;
}

static void consider_path(const char *path, DumpWish wish, DumpTool *best, Error *why) {
    while (*path != '\0') {
        size_t len = strcspn(path, ":");
        char program[512];
        int written = snprintf(program, sizeof program, "%.*s/pg_dump", (int)len, path);
        if (path[0] == '/' && written > 0 && (size_t)written < sizeof program)
            tool_consider(program, wish, best, why);
        path += len + (path[len] == ':');
    }
}

static void consider_versions(const char *versions_dir, DumpWish wish, DumpTool *best, Error *why) {
    DIR *dir = opendir(versions_dir);
    if (dir == NULL && limit_is_meant(errno))
        limit_failed(why, "look for pg_dump", errno);
    if (dir == NULL)
        return;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char program[512];
        int written = snprintf(program, sizeof program, "%s/%s/bin/pg_dump", versions_dir, entry->d_name);
        if (entry->d_name[0] != '.' && written > 0 && (size_t)written < sizeof program)
            tool_consider(program, wish, best, why);
    }
    closedir(dir);
}

static bool too_old(const DumpTool *tool, int source_major, Error *e) {
    if (tool->version == 0)
        fail(e, ERR_CONFIG, "no pg_dump was found, and the source is a server of version %d", source_major);
    else
        fail(e, ERR_CONFIG, "\"%s\" is of version %d and cannot read a server of version %d", tool->pg_dump,
             tool->version, source_major);
    return fail_hint(e, "install the package postgresql-client-%d, or name a newer one with schema.pg_dump",
                     source_major);
}

bool dump_choose_among(const char *path, const char *versions_dir, DumpWish wish, DumpTool *out, Error *e) {
    Error why = {.kind = ERR_NONE};
    memset(out, 0, sizeof *out);
    if (path != NULL)
        consider_path(path, wish, out, &why);
    consider_versions(versions_dir, wish, out, &why);
    if (out->version >= wish.source_major)
        return true;
    too_old(out, wish.source_major, e);
    if (out->version > 0 || why.kind == ERR_NONE)
        return false;
    if (why.hint[0] == '\0')
        memcpy(why.hint, e->hint, sizeof why.hint);
    *e = why;
    return fail_context(e, "no pg_dump can be used");
}

bool dump_choose(const Config *cfg, int source_version, int target_version, DumpTool *out, Error *e) {
    DumpWish wish = {source_version / 10000, target_version / 10000};
    if (strcmp(cfg->schema.pg_dump, "auto") == 0)
        return dump_choose_among(getenv("PATH"), VERSIONS_DIR, wish, out, e);
    if (!tool_probe(cfg->schema.pg_dump, out, e))
        return fail_context(e, "schema.pg_dump");
    return out->version >= wish.source_major ? true : too_old(out, wish.source_major, e);
}
