#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "core/dead_letter.h"

enum { CONNECT_MS = 10000 };

typedef struct Shown {
    bool json;
    int64_t count;
} Shown;

static json_t *text_or_null(const char *text) {
    return text == NULL ? json_null() : json_string(text);
}

static json_t *object_or_null(const char *text) {
    json_t *object = text == NULL ? NULL : json_loads(text, JSON_ALLOW_NUL, NULL);
    return object == NULL ? json_null() : object;
}

static void letter_json(const DeadLetter *letter) {
    char table[200];
    snprintf(table, sizeof table, "%s.%s", letter->schema, letter->table);
    json_t *out = json_object();
    json_object_set_new(out, "lsn", json_string(letter->lsn));
    json_object_set_new(out, "xid", json_integer(strtoll(letter->xid, NULL, 10)));
    json_object_set_new(out, "seq", json_integer(strtoll(letter->seq, NULL, 10)));
    json_object_set_new(out, "table", json_string(table));
    json_object_set_new(out, "operation", json_string(letter->operation));
    json_object_set_new(out, "key", object_or_null(letter->key));
    json_object_set_new(out, "values", object_or_null(letter->values));
    json_object_set_new(out, "sqlstate", text_or_null(letter->sqlstate));
    json_object_set_new(out, "reason", json_string(letter->reason));
    json_object_set_new(out, "at", json_string(letter->at));
    char *text = json_dumps(out, JSON_COMPACT);
    fputs(text, stdout);
    free(text);
    json_decref(out);
}

static void letter_text(const DeadLetter *letter) {
    printf("%s  xid %s, change %s  %s %s.%s %s\n", letter->lsn, letter->xid, letter->seq, letter->operation,
           letter->schema, letter->table, letter->key != NULL ? letter->key : "");
    printf("    %s%s%s\n", letter->sqlstate != NULL ? letter->sqlstate : "",
           letter->sqlstate != NULL ? ": " : "", letter->reason);
    if (letter->values != NULL)
        printf("    %s\n", letter->values);
}

/* False, and so nothing cleared, when nobody can read it. */
static bool letter_show(void *context, const DeadLetter *letter) {
    Shown *shown = context;
    if (shown->json)
        fputs(shown->count > 0 ? ",\n" : "\n", stdout);
    shown->count++;
    if (shown->json)
        letter_json(letter);
    else
        letter_text(letter);
    return !ferror(stdout);
}

static bool show(const Config *cfg, const Arguments *arguments, Error *e) {
    Shown shown = {.json = arguments->json};
    if (cfg->target.dsn == NULL)
        return fail(e, ERR_CONFIG, "a job without \"target.dsn\" has no dead letters");
    PgAddress to = {.dsn = cfg->target.dsn, .side = "target", .job = cfg->name};
    Pg *pg = pg_open(&to, CONNECT_MS, e);
    if (pg == NULL)
        return false;
    if (shown.json)
        fputs("{\"dead_letters\": [", stdout);
    bool ok = dead_letter_visit(pg, cfg, arguments->clear, letter_show, &shown, e);
    pg_close(pg);
    if (shown.json)
        printf("], \"count\": %lld, \"cleared\": %s}\n", (long long)shown.count,
               ok && arguments->clear ? "true" : "false");
    else if (ok && shown.count == 0)
        printf("no dead letters of job \"%s\"\n", cfg->name);
    else if (ok)
        printf("%lld dead letters%s\n", (long long)shown.count, arguments->clear ? ", cleared" : "");
    return ok && (fflush(stdout) == 0 || fail(e, ERR_CONFIG, "cannot write the list"));
}

int cmd_dead_letters(const Arguments *arguments) {
    Error e = {0};
    Config *cfg = arguments_config(arguments, 0, false, &e);
    bool ok = cfg != NULL && show(cfg, arguments, &e);
    config_free(cfg);
    return ok ? EXIT_DONE : cli_failed(&e);
}
