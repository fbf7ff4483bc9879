#include "core/config_expand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config_value.h"

static const char FILE_MARK[] = "file:";

static bool descriptor_read(int file, const char *path, size_t limit, Writer *out, Error *e) {
    char chunk[16 * 1024];
    size_t total = 0;
    for (;;) {
        ssize_t got = read(file, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(e, ERR_CONFIG, "cannot read \"%s\": %s", path, strerror(errno));
        if (got == 0)
            break;
        total += (size_t)got;
        if (total > limit)
            return fail(e, ERR_CONFIG, "\"%s\" is larger than %zuKiB", path, limit / 1024);
        writer_bytes(out, (Slice){chunk, (size_t)got});
    }
    explicit_bzero(chunk, sizeof chunk);
    return true;
}

bool config_file_read(const char *path, size_t limit, Writer *out, Error *e) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (file < 0)
        return fail(e, ERR_CONFIG, "cannot read \"%s\": %s", path, strerror(errno));
    bool good = descriptor_read(file, path, limit, out, e);
    close(file);
    return good;
}

/* Length of the variable's name at `text`, when "}" follows it; else 0. */
static size_t variable_length(const char *text) {
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    size_t length = strspn(text, LETTERS);
    bool named = length > 0 && (text[0] < '0' || text[0] > '9');
    return named && text[length] == '}' ? length : 0;
}

static bool variables_expand(const char *raw, Writer *out, Error *e) {
    for (const char *mark = strstr(raw, "${"); mark != NULL; mark = strstr(raw, "${")) {
        char name[256];
        size_t length = variable_length(mark + 2);
        if (length == 0 || length >= sizeof name) {
            fail(e, ERR_CONFIG, "\"${\" is not followed by a variable's name and \"}\"");
            return fail_hint(e, "write ${NAME}, with letters, digits and _");
        }
        memcpy(name, mark + 2, length);
        name[length] = '\0';
        const char *value = getenv(name);
        if (value == NULL)
            return fail(e, ERR_CONFIG, "the environment variable \"%s\" is not set", name);
        writer_bytes(out, (Slice){raw, (size_t)(mark - raw)});
        writer_text(out, value);
        raw = mark + 2 + length + 1;
    }
    writer_text(out, raw);
    return true;
}

static bool file_expand(Writer *out, Error *e) {
    Writer content = writer_new(CONFIG_VALUE_BYTES_MAX);
    const char *path = writer_string(out) + strlen(FILE_MARK);
    bool good = config_file_read(path, CONFIG_VALUE_BYTES_MAX, &content, e);
    if (good && content.len > 0 && memchr(content.at, 0, content.len) != NULL)
        good = fail(e, ERR_CONFIG, "\"%s\" holds a NUL character", path);
    if (good) {
        if (content.len > 0 && content.at[content.len - 1] == '\n')
            content.len--;
        if (content.len > 0 && content.at[content.len - 1] == '\r')
            content.len--;
        writer_reset(out);
        writer_bytes(out, writer_slice(&content));
    }
    if (content.at != NULL)
        explicit_bzero(content.at, content.capacity);
    writer_free(&content);
    return good;
}

bool config_expand(const char *raw, bool files, Writer *out, Error *e) {
    if (!variables_expand(raw, out, e))
        return false;
    if (files && strncmp(writer_string(out), FILE_MARK, strlen(FILE_MARK)) == 0 && !file_expand(out, e))
        return false;
    if (out->full)
        return fail(e, ERR_CONFIG, "the value is larger than %dKiB", CONFIG_VALUE_BYTES_MAX / 1024);
    if (!config_utf8_valid(writer_slice(out)))
        return fail(e, ERR_CONFIG, "the value is not UTF-8");
    return true;
}
