#include "core/config_resolve.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/mapping.h"
#include "core/memory.h"
#include "core/pg.h"

#define TOPIC_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

enum { WORKERS_AUTO_MAX = 8, SOCKET_PATH_MAX = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1 };

static char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *text_format(const char *format, ...) {
    char *text;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        memory_refused(0);
    return text;
}

static bool ends_check(const Config *cfg, Error *e) {
    if (cfg->source.dsn == NULL) {
        fail(e, ERR_CONFIG, "\"source.dsn\" is missing");
        return fail_hint(e, "name the server to read from in the job file or by --source");
    }
    if (cfg->target.dsn == NULL && cfg->file.path == NULL && cfg->kafka.brokers == NULL) {
        fail(e, ERR_CONFIG, "\"target.dsn\" is missing");
        return fail_hint(e, "name the server to write to in the job file or by --target; "
                            "a job without target needs \"kafka.brokers\" or \"file.path\"");
    }
    return true;
}

static bool phases_resolve(Config *cfg, const ConfigGiven *given, Error *e) {
    if (cfg->target.dsn != NULL)
        return true;
    if (!given->phases)
        cfg->phases.schema = false;
    if (given->whole && cfg->kafka.brokers != NULL && !cfg->phases.incremental)
        return fail(e, ERR_CONFIG, "a job without \"target.dsn\" needs the phase \"incremental\"");
    if (given->whole && cfg->phases.schema)
        return fail(e, ERR_CONFIG, "the phase \"schema\" needs \"target.dsn\"");
    return true;
}

/* The source sends the rows of a prepared transaction once: they need a place that keeps them until its outcome. */
static bool two_phase_check(const Config *cfg, Error *e) {
    if (!cfg->source.two_phase ||
        (cfg->target.dsn != NULL && cfg->file.path == NULL && cfg->kafka.brokers == NULL))
        return true;
    fail(e, ERR_CONFIG, "\"source.two_phase\" needs a database as the only destination");
    return fail_hint(e, "without it a prepared transaction arrives whole, when it is committed");
}

const char *existing_policy_name(ExistingPolicy policy) {
    static const char *const names[] = {"fail", "keep", "truncate", "drop"};
    return names[policy];
}

static bool existing_check(const Config *cfg, Error *e) {
    if (cfg->existing == EXISTING_FAIL)
        return true;
    const char *name = existing_policy_name(cfg->existing);
    if (cfg->target.dsn == NULL || !cfg->phases.full)
        return fail(e, ERR_CONFIG, "\"existing: %s\" needs \"target.dsn\" and the phase \"full\"", name);
    if (cfg->existing == EXISTING_DROP && !cfg->phases.schema)
        return fail(e, ERR_CONFIG,
                    "\"existing: drop\" needs the phase \"schema\", which makes the tables again");
    return true;
}

static bool retry_resolve(Config *cfg, const ConfigGiven *given, Error *e) {
    if (cfg->retry.other_ms <= cfg->retry.connection_ms)
        return true;
    if (given->retry_other)
        return fail(e, ERR_CONFIG, "\"retry.other\" must not be longer than \"retry.connection\"");
    cfg->retry.other_ms = cfg->retry.connection_ms;
    return true;
}

/* Appends the characters of `text` that a job's name can hold, others as "_" (one for each UTF-8 character).
 */
static void name_append(char name[JOB_NAME_MAX + 1], const char *text) {
    size_t length = strlen(name);
    for (const char *at = text; *at != '\0' && length < JOB_NAME_MAX; at++) {
        unsigned char letter = (unsigned char)*at;
        bool continues = (letter & 0xC0) == 0x80;
        bool plain = letter < 0x80 && isalnum(letter);
        if (!continues)
            name[length++] = plain ? (char)tolower(letter) : '_';
    }
    name[length] = '\0';
}

static bool database_append(char name[JOB_NAME_MAX + 1], const char *dsn, const char *key, Error *e) {
    char database[256];
    pg_dsn_database(dsn, database, sizeof database);
    if (database[0] == '\0') {
        fail(e, ERR_CONFIG, "\"name\" is missing, and \"%s\" names no database to make it from", key);
        return fail_hint(e, "set \"name\"");
    }
    name_append(name, database);
    return true;
}

static bool name_resolve(Config *cfg, Error *e) {
    char name[JOB_NAME_MAX + 1] = "";
    if (cfg->name != NULL)
        return true;
    if (cfg->source.dsn == NULL) {
        fail(e, ERR_CONFIG, "\"name\" is missing");
        return fail_hint(e, "give the job file, --set name=NAME or --source");
    }
    if (!database_append(name, cfg->source.dsn, "source.dsn", e))
        return false;
    if (cfg->target.dsn != NULL) {
        name_append(name, "_");
        if (!database_append(name, cfg->target.dsn, "target.dsn", e))
            return false;
    }
    cfg->name = text_format("%s", name);
    return true;
}

/* systemd may name several folders, with ":" between: ours is the first. NULL when the variable is not set.
 */
static char *folder_of_service(const char *variable) {
    const char *value = getenv(variable);
    if (value == NULL || value[0] != '/')
        return NULL;
    return text_format("%.*s", (int)strcspn(value, ":"), value);
}

/* The XDG rules: a relative path counts as not set. */
static const char *folder_of_user(const char *variable) {
    const char *value = getenv(variable);
    return value != NULL && value[0] == '/' ? value : NULL;
}

static void spill_resolve(Config *cfg) {
    if (cfg->spill.dir == NULL)
        cfg->spill.dir = folder_of_service("STATE_DIRECTORY");
    if (cfg->spill.dir != NULL)
        return;
    const char *home = folder_of_user("XDG_STATE_HOME");
    if (home != NULL)
        cfg->spill.dir = text_format("%s/walferry/%s", home, cfg->name);
    else
        cfg->spill.dir = text_format("/var/tmp/walferry-%u/%s", getuid(), cfg->name);
}

static bool socket_resolve(Config *cfg, Error *e) {
    char *service = folder_of_service("RUNTIME_DIRECTORY");
    const char *user = folder_of_user("XDG_RUNTIME_DIR");
    if (service != NULL)
        cfg->control_socket = text_format("%s/%s.sock", service, cfg->name);
    else if (user != NULL)
        cfg->control_socket = text_format("%s/walferry/%s.sock", user, cfg->name);
    else
        cfg->control_socket = text_format("/tmp/walferry-%u/%s.sock", getuid(), cfg->name);
    free(service);
    if (strlen(cfg->control_socket) <= SOCKET_PATH_MAX)
        return true;
    fail(e, ERR_CONFIG, "the control socket's path \"%s\" is longer than %d bytes", cfg->control_socket,
         (int)SOCKET_PATH_MAX);
    return fail_hint(e, "set RUNTIME_DIRECTORY or XDG_RUNTIME_DIR to a shorter folder");
}

static bool kafka_resolve(Config *cfg, Error *e) {
    if (cfg->kafka.brokers == NULL)
        return true;
    if (cfg->kafka.prefix == NULL) {
        fail(e, ERR_CONFIG, "\"kafka.prefix\" is missing");
        return fail_hint(e, "topics are named <prefix>.<schema>.<table>");
    }
    if (strspn(cfg->kafka.prefix, TOPIC_CHARACTERS) != strlen(cfg->kafka.prefix) ||
        (cfg->kafka.control != NULL &&
         strspn(cfg->kafka.control, TOPIC_CHARACTERS) != strlen(cfg->kafka.control))) {
        fail(e, ERR_CONFIG, "\"kafka.%s\" holds characters that a topic's name cannot have",
             strspn(cfg->kafka.prefix, TOPIC_CHARACTERS) != strlen(cfg->kafka.prefix) ? "prefix" : "control");
        return fail_hint(e, "letters, digits, \".\", \"_\" and \"-\" are allowed");
    }
    if (cfg->kafka.format == KAFKA_PROTOBUF && cfg->kafka.registry.url == NULL) {
        fail(e, ERR_CONFIG, "\"kafka.format: protobuf\" needs \"kafka.registry.url\"");
        return fail_hint(e, "records refer to their schemas by the ids that a registry gives");
    }
    if (cfg->kafka.control == NULL)
        cfg->kafka.control = text_format("%s.walferry", cfg->kafka.prefix);
    return routes_resolve(&cfg->kafka.routes, e);
}

static void workers_resolve(Config *cfg) {
    if (cfg->load.workers >= 0)
        return;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    cfg->load.workers = cores < 1 ? 1 : cores > WORKERS_AUTO_MAX ? WORKERS_AUTO_MAX : (int)cores;
}

/* The job's second slot and publication are named after it: no other job may have their names. */
static bool name_is_free(const Config *cfg, Error *e) {
    static const char *const taken[] = {"_load", "_i"};
    for (size_t n = 0; n < sizeof taken / sizeof *taken; n++) {
        size_t name = strlen(cfg->name), ending = strlen(taken[n]);
        if (name < ending || strcmp(cfg->name + name - ending, taken[n]) != 0)
            continue;
        fail(e, ERR_CONFIG, "a job's name cannot end in \"%s\": \"dts_sync_%s\" belongs to job \"%.*s\"",
             taken[n], cfg->name, (int)(name - ending), cfg->name);
        return fail_hint(e, "set another \"name\"");
    }
    return true;
}

static void names_resolve(Config *cfg) {
    cfg->slot = text_format("dts_sync_%s", cfg->name);
    cfg->load_slot = text_format("dts_sync_%s_load", cfg->name);
    cfg->insert_publication = text_format("dts_sync_%s_i", cfg->name);
    if (cfg->source.publication == NULL)
        cfg->source.publication = text_format("dts_sync_%s", cfg->name);
}

static bool ddl_check(const Config *cfg, Error *e) {
    if (cfg->ddl == DDL_STOP)
        return true;
    const char *name = cfg->ddl == DDL_APPLY ? "apply" : "pause-table";
    if (cfg->ddl == DDL_APPLY && cfg->source.two_phase)
        return fail(e, ERR_CONFIG, "\"ddl: apply\" and \"source.two_phase\" exclude each other");
    if (cfg->target.dsn == NULL || !cfg->phases.full || !cfg->phases.incremental)
        return fail(e, ERR_CONFIG,
                    "\"ddl: %s\" needs \"target.dsn\" and the phases \"full\" and \"incremental\"", name);
    return true;
}

bool config_resolve(Config *cfg, const ConfigGiven *given, Error *e) {
    if (given->whole && !ends_check(cfg, e))
        return false;
    if (!phases_resolve(cfg, given, e) ||
        (given->whole && (!two_phase_check(cfg, e) || !existing_check(cfg, e) || !ddl_check(cfg, e))) ||
        !retry_resolve(cfg, given, e) || !name_resolve(cfg, e) || !name_is_free(cfg, e) ||
        !mapping_check(cfg, e) || !kafka_resolve(cfg, e))
        return false;
    names_resolve(cfg);
    workers_resolve(cfg);
    spill_resolve(cfg);
    return socket_resolve(cfg, e);
}
