#include "job/check_text.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TEXT_LIMIT = 1 << 20, VERSION_OLDEST = 12, VERSION_NEWEST = 18 };

/* ---- names ---- */

Names names_new(void) {
    return (Names){.text = writer_new(TEXT_LIMIT)};
}

void names_free(Names *n) {
    writer_free(&n->text);
}

bool names_full(const Names *n) {
    return n->count >= CHECK_NAMES_MAX;
}

void names_add(Names *n, const char *name) {
    if (!names_full(n))
        writer_format(&n->text, "%s%s", n->count == 0 ? "" : ", ", name);
    n->count++;
}

const char *names_text(Names *n) {
    if (n->count > CHECK_NAMES_MAX)
        writer_format(&n->text, ", … and %d more", n->count - CHECK_NAMES_MAX);
    return writer_string(&n->text);
}

/* ---- settings that are lists ---- */

static bool is_between(char c) {
    return strchr(" \t\r\n,()", c) != NULL;
}

bool setting_next(const char **at, char *out, size_t size) {
    const char *c = *at;
    size_t length = 0;
    while (*c != '\0' && is_between(*c))
        c++;
    if (*c == '\0')
        return false;
    bool quoted = *c == '"';
    for (c += quoted; *c != '\0'; c++) {
        if (quoted && c[0] == '"' && c[1] == '"')
            c++;
        else if (quoted ? *c == '"' : is_between(*c))
            break;
        if (length + 1 < size)
            out[length++] = *c;
    }
    out[length] = '\0';
    *at = quoted && *c == '"' ? c + 1 : c;
    return true;
}

bool setting_has(const char *setting, const char *name) {
    char element[256];
    while (setting_next(&setting, element, sizeof element))
        if (strcasecmp(element, name) == 0)
            return true;
    return false;
}

bool standbys_match(const char *names, const char *application) {
    return setting_has(names, application) || setting_has(names, "*");
}

static void standby_write(Writer *out, const char *name, bool *first) {
    writer_text(out, *first ? "\"" : ", \"");
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '"')
            writer_u8(out, '"');
        writer_u8(out, (uint8_t)*c);
    }
    writer_text(out, "\"");
    *first = false;
}

void standbys_write(Writer *out, const char *names, const char *application, const char *const *standbys,
                    int count) {
    const char *open = strchr(names, '('), *quote = strchr(names, '"');
    bool whole = open == NULL || (quote != NULL && quote < open); /* a plain list, no "ANY 2 (…)" */
    const char *list = whole ? names : open;
    Writer kept = writer_new(TEXT_LIMIT);
    char element[256];
    bool none = true;
    while (setting_next(&list, element, sizeof element)) {
        if (strcmp(element, "*") != 0 && strcasecmp(element, application) != 0)
            standby_write(&kept, element, &none);
        for (int n = 0; strcmp(element, "*") == 0 && n < count; n++)
            standby_write(&kept, standbys[n], &none);
    }
    if (whole || none)
        writer_bytes(out, writer_slice(&kept));
    else
        writer_format(out, "%.*s(%s)", (int)(open - names), names, writer_string(&kept));
    writer_free(&kept);
}

/* ---- hosts and versions ---- */

bool host_is_local(const char *host) {
    return host[0] == '\0' || host[0] == '/' || host[0] == '@' || strcasecmp(host, "localhost") == 0 ||
           strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

const char *version_text(int version, char out[16]) {
    snprintf(out, 16, "%d.%d", version / 10000, version % 10000);
    return out;
}

/* Lesson L20, by the release notes of the minors of 2024-11-21 and by bugs #18938 and #18942. */
typedef struct DecodingBug {
    int from, before; /* server_version_num */
    const char *what;
} DecodingBug;
static const char RESTART_GOES_BACK[] =
    "in which a slot's restart_lsn may go backwards, so that it needs WAL that is gone";
static const char INVALIDATIONS[] =
    "in which schema changes beside open transactions make decoding take more and more "
    "memory until it fails";
static const DecodingBug DECODING_BUGS[] = {
    {120000, 120022, RESTART_GOES_BACK}, {130000, 130018, RESTART_GOES_BACK},
    {140000, 140015, RESTART_GOES_BACK}, {150000, 150010, RESTART_GOES_BACK},
    {160000, 160006, RESTART_GOES_BACK}, {170000, 170002, RESTART_GOES_BACK},
    {130021, 130022, INVALIDATIONS},     {140018, 140019, INVALIDATIONS},
    {150013, 150014, INVALIDATIONS},     {160009, 160010, INVALIDATIONS},
    {170005, 170006, INVALIDATIONS},
};

CheckState source_version_judge(int version, const char **why) {
    *why = "";
    if (version / 10000 < VERSION_OLDEST) {
        *why = "which is older than 12, the oldest version that walferry reads";
        return CHECK_FAILED;
    }
    if (version / 10000 > VERSION_NEWEST) {
        *why = "which is newer than 18, the newest version that this walferry knows";
        return CHECK_ALERT;
    }
    for (size_t n = 0; n < sizeof DECODING_BUGS / sizeof *DECODING_BUGS; n++)
        if (version >= DECODING_BUGS[n].from && version < DECODING_BUGS[n].before) {
            *why = DECODING_BUGS[n].what;
            return CHECK_ALERT;
        }
    return CHECK_PASSED;
}

/* ---- JSON ---- */

json_t *text_json(const char *text) {
    json_t *whole = json_string(text);
    if (whole != NULL)
        return whole;
    Writer plain = writer_new(strlen(text) + 1);
    for (; *text != '\0'; text++)
        writer_u8(&plain, (uint8_t)*text < 0x80 ? (uint8_t)*text : (uint8_t)'?');
    whole = json_string(writer_string(&plain));
    writer_free(&plain);
    return whole;
}
