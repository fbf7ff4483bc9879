#include "sink/file_position.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <jansson.h>

static bool path_of(const Config *cfg, const char *ending, char out[PATH_MAX], Error *e) {
    int length = snprintf(out, PATH_MAX, "%s.position%s", cfg->file.path, ending);
    return (length > 0 && length < PATH_MAX) || fail(e, ERR_CONFIG, "file.path is too long");
}

static bool lsn_of(json_t *root, const char *key, Lsn *out) {
    const char *text = json_string_value(json_object_get(root, key));
    return text != NULL && lsn_parse(text, out);
}

static bool parse(json_t *root, const Config *cfg, FilePosition *out) {
    const char *job = json_string_value(json_object_get(root, "job"));
    const char *system = json_string_value(json_object_get(root, "system_identifier"));
    if (job == NULL || strcmp(job, cfg->name) != 0 || system == NULL)
        return false;
    out->exists = true;
    out->intent = json_is_true(json_object_get(root, "intent"));
    out->position.system_id = strtoull(system, NULL, 10);
    out->position.timeline = (uint32_t)json_integer_value(json_object_get(root, "timeline"));
    return lsn_of(root, "applied", &out->position.applied) && lsn_of(root, "bound", &out->position.bound);
}

bool file_position_read(const Config *cfg, FilePosition *out, Error *e) {
    char path[PATH_MAX];
    json_error_t error;
    *out = (FilePosition){0};
    if (!path_of(cfg, "", path, e))
        return false;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return true;
    json_t *root = json_load_file(path, 0, &error);
    bool ok = root != NULL && parse(root, cfg, out);
    json_decref(root);
    if (ok)
        return true;
    fail(e, ERR_LOST, "\"%s\" is not the position of job \"%s\"", path, cfg->name);
    return fail_hint(e, "the file belongs to another job, or is damaged: choose another file.path");
}

/* The rename itself must survive a power cut, too. */
static bool sync_folder(char *path) {
    int folder = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = folder >= 0 && fsync(folder) == 0;
    if (folder >= 0)
        close(folder);
    return ok;
}

static bool write_synced(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        return false;
    size_t length = strlen(text);
    bool ok = write(file, text, length) == (ssize_t)length && fsync(file) == 0;
    return close(file) == 0 && ok;
}

bool file_position_write(const Config *cfg, const FilePosition *position, Error *e) {
    char path[PATH_MAX], fresh[PATH_MAX], applied[LSN_TEXT_SIZE], bound[LSN_TEXT_SIZE], text[600];
    if (!path_of(cfg, "", path, e) || !path_of(cfg, ".new", fresh, e))
        return false;
    snprintf(text, sizeof text,
             "{\"job\": \"%s\", \"system_identifier\": \"%" PRIu64 "\", \"timeline\": %" PRIu32
             ", \"intent\": %s, \"applied\": \"%s\", \"bound\": \"%s\"}\n",
             cfg->name, position->position.system_id, position->position.timeline,
             position->intent ? "true" : "false", lsn_text(position->position.applied, applied),
             lsn_text(position->position.bound, bound));
    if (write_synced(fresh, text) && rename(fresh, path) == 0 && sync_folder(fresh))
        return true;
    return fail(e, errno == ENOSPC ? ERR_RETRY : ERR_CONFIG, "cannot write \"%s\": %s", path,
                strerror(errno));
}

bool file_position_take(const Config *cfg, int file, Error *e) {
    return flock(file, LOCK_EX | LOCK_NB) == 0 ||
           fail(e, ERR_CONFIG, "another process writes \"%s\"", cfg->file.path);
}

int file_position_lock(const Config *cfg, Error *e) {
    int file = open(cfg->file.path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0)
        fail(e, ERR_CONFIG, "cannot open \"%s\": %s", cfg->file.path, strerror(errno));
    else if (!file_position_take(cfg, file, e)) {
        close(file);
        file = -1;
    }
    return file;
}
