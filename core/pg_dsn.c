#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/memory.h"
#include "core/pg.h"

/* What people may see of a connection, in this order. */
static const char *const SHOWN[] = {"service", "host", "hostaddr", "port", "dbname", "user"};
enum { SHOWN_COUNT = sizeof SHOWN / sizeof *SHOWN, OPTIONS_MAX = 128 };

static const char *option_value(const PQconninfoOption *options, const char *keyword) {
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val == NULL ? "" : o->val;
    return "";
}

/* libpq marks what must not be shown: password, sslpassword, … */
static bool option_is_secret(const PQconninfoOption *o) {
    return strchr(o->dispchar, '*') != NULL || strstr(o->keyword, "password") != NULL;
}

/* " key=value", quoted where the keyword string needs it. */
static void option_write(Writer *w, const char *key, const char *value) {
    writer_format(w, "%s%s=", w->len == 0 ? "" : " ", key);
    if (value[0] != '\0' && strpbrk(value, " \t\r\n\f\v'\\") == NULL) {
        writer_text(w, value);
        return;
    }
    writer_u8(w, '\'');
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\'' || *c == '\\')
            writer_u8(w, '\\');
        writer_u8(w, (uint8_t)*c);
    }
    writer_u8(w, '\'');
}

/* libpq quotes pieces of the string in its complaint, and any piece may be (part of) a password: everything
 * from the first such quote to the last one is left out. Quotes around a separator are libpq's own words. */
static void complaint_write(Writer *w, const char *complaint) {
    size_t length = strcspn(complaint, "\n");
    const char *last = memrchr(complaint, '"', length);
    for (const char *c = complaint; c < complaint + length; c++) {
        if (*c != '"') {
            writer_u8(w, (uint8_t)*c);
        } else if (strncmp(c, "\"=\"", 3) == 0) {
            writer_text(w, "\"=\"");
            c += 2;
        } else {
            writer_text(w, "\"…\"");
            assert(last != NULL);
            c = c < last ? last : c;
        }
    }
}

/* A mistyped keyword is answered with the real one, which gives nothing away. */
static void complaint_hint(const char *complaint, Error *e) {
    char word[64];
    const char *names[OPTIONS_MAX];
    size_t count = 0;
    const char *open = strchr(complaint, '"');
    size_t length = open == NULL ? 0 : strcspn(open + 1, "\"");
    bool about_keyword = strncmp(complaint, "invalid connection option", 25) == 0 ||
                         strncmp(complaint, "invalid URI query parameter", 27) == 0;
    if (!about_keyword || length == 0 || length >= sizeof word)
        return;
    memcpy(word, open + 1, length);
    word[length] = '\0';
    PQconninfoOption *options = PQconninfoParse("", NULL);
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL && count < OPTIONS_MAX; o++)
        names[count++] = o->keyword;
    const char *nearest = config_nearest(word, names, count);
    if (nearest != NULL)
        fail_hint(e, "did you mean \"%s\"?", nearest);
    PQconninfoFree(options);
}

static PQconninfoOption *options_parse(const char *dsn, Error *e) {
    char *complaint = NULL;
    PQconninfoOption *options = PQconninfoParse(dsn, &complaint);
    if (options != NULL)
        return options;
    if (complaint == NULL)
        memory_refused(0);
    Writer w = writer_new(sizeof e->text);
    complaint_write(&w, complaint);
    fail(e, ERR_CONFIG, "the connection string cannot be read: %s", writer_string(&w));
    complaint_hint(complaint, e);
    writer_free(&w);
    PQfreemem(complaint);
    return NULL;
}

bool pg_dsn_valid(const char *dsn, Error *e) {
    PQconninfoOption *options = options_parse(dsn, e);
    PQconninfoFree(options);
    return options != NULL;
}

static void text_copy(char *out, size_t size, const char *text) {
    assert(size > 0);
    size_t length = strnlen(text, size - 1);
    memcpy(out, text, length);
    out[length] = '\0';
}

bool pg_describe(const char *dsn, char *out, size_t size, Error *e) {
    PQconninfoOption *options = options_parse(dsn, e);
    if (options == NULL)
        return false;
    Writer w = writer_new(SIZE_MAX);
    for (int n = 0; n < SHOWN_COUNT; n++) {
        const char *value = option_value(options, SHOWN[n]);
        if (value[0] != '\0')
            option_write(&w, SHOWN[n], value);
    }
    text_copy(out, size, writer_string(&w));
    writer_free(&w);
    PQconninfoFree(options);
    return true;
}

void pg_dsn_database(const char *dsn, char *out, size_t size) {
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    text_copy(out, size, options == NULL ? "" : option_value(options, "dbname"));
    PQconninfoFree(options);
}

bool pg_dsn_split(const char *dsn, char **without_secret, char **password, Error *e) {
    PQconninfoOption *options = options_parse(dsn, e);
    if (options == NULL)
        return false;
    Writer w = writer_new(SIZE_MAX);
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
        if (o->val != NULL && !option_is_secret(o))
            option_write(&w, o->keyword, o->val);
    *without_secret = memory_text(writer_string(&w));
    *password = memory_text(option_value(options, "password"));
    writer_free(&w);
    PQconninfoFree(options);
    return true;
}

char *pg_dsn_beside(const char *dsn, const Pg *pg, const char *database) {
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    Writer w = writer_new(SIZE_MAX);
    option_write(&w, "host", PQhost(pg->conn));
    option_write(&w, "port", PQport(pg->conn));
    if (PQhostaddr(pg->conn)[0] != '\0') /* a name may have several addresses; a unix socket has none */
        option_write(&w, "hostaddr", PQhostaddr(pg->conn));
    for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
        if (o->val != NULL && strncmp(o->keyword, "host", 4) != 0 && strcmp(o->keyword, "port") != 0 &&
            (database == NULL || strcmp(o->keyword, "dbname") != 0))
            option_write(&w, o->keyword, o->val);
    if (database != NULL)
        option_write(&w, "dbname", database);
    char *pinned = memory_text(writer_string(&w));
    explicit_bzero(w.at, w.len);
    writer_free(&w);
    PQconninfoFree(options);
    return pinned;
}

char *pg_dsn_pin(const char *dsn, const Pg *pg) {
    return pg_dsn_beside(dsn, pg, NULL);
}

void pg_forget(char *secret) {
    if (secret == NULL)
        return;
    explicit_bzero(secret, strlen(secret));
    free(secret);
}
