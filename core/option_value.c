#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/config.h"
#include "core/config_value.h"
#include "core/lsn.h"
#include "core/options.h"

enum { URL_MAX = 4096 };

bool option_choice(const char *choices, int index, Slice *out) {
    const char *at = choices;
    for (; index > 0; index--) {
        at = strchr(at, '|');
        if (at == NULL)
            return false;
        at++;
    }
    *out = (Slice){at, strcspn(at, "|")};
    return true;
}

static bool choice_parse(const char *choices, const char *text, int64_t *out) {
    Slice word;
    for (int index = 0; option_choice(choices, index, &word); index++) {
        if (slice_is(word, text)) {
            *out = index;
            return true;
        }
    }
    return false;
}

static bool identifier_valid(const char *text, size_t length) {
    return length > 0 && length <= NAME_BYTES_MAX && memchr(text, '\n', length) == NULL;
}

static bool table_valid(const char *text) {
    ConfigName name;
    return config_table_read(text, &name, NULL);
}

bool option_free_valid(const Option *option, const char *free_part) {
    ConfigName name;
    const char *column;
    switch (option->free) {
    case FREE_ANY: return true;
    case FREE_SCHEMA: return identifier_valid(free_part, strlen(free_part));
    case FREE_TABLE: return table_valid(free_part);
    case FREE_COLUMN:
        return config_table_read(free_part, &name, &column) && identifier_valid(column, strlen(column));
    }
    return false;
}

static bool schema_valid(const char *text) {
    return identifier_valid(text, strlen(text)) && strncmp(text, "pg_", 3) != 0 &&
           strcmp(text, "information_schema") != 0;
}

static bool job_name_valid(const char *text) {
    size_t length = strlen(text);
    return length > 0 && length <= JOB_NAME_MAX &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

static bool address_valid(const char *text) {
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (colon == NULL || colon == text || !config_number(colon + 1, &port) || port < 1 || port > 65535)
        return false;
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    return bracketed || memchr(text, ':', (size_t)(colon - text)) == NULL;
}

static bool url_valid(const char *text) {
    if (*text == '\0')
        return true;
    size_t scheme = strncasecmp(text, "https://", 8) == 0 ? 8 : strncasecmp(text, "http://", 7) == 0 ? 7 : 0;
    return scheme > 0 && text[scheme] != '\0' && strpbrk(text, " \t\n") == NULL;
}

static bool urls_valid(const char *text) {
    char url[URL_MAX + 1];
    for (;; text++) {
        size_t length;
        text += strspn(text, " ");
        length = strcspn(text, ",");
        size_t bare = length;
        while (bare > 0 && text[bare - 1] == ' ')
            bare--;
        if (bare == 0 || bare > URL_MAX)
            return false;
        memcpy(url, text, bare);
        url[bare] = '\0';
        bool valid = url_valid(url);
        explicit_bzero(url, sizeof url);
        text += length;
        if (!valid || *text == '\0')
            return valid;
    }
}

/* ISO 8601 with its zone: 2026-11-21T04:00:00Z, …T04:00:00.25+01:00. */
static bool time_valid(const char *text) {
    struct tm parts = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (end == NULL)
        return false;
    if (*end == '.')
        end += 1 + strspn(end + 1, "0123456789");
    if (strcmp(end, "Z") == 0)
        return true;
    if (*end != '+' && *end != '-')
        return false;
    memset(&parts, 0, sizeof parts);
    const char *rest = strptime(end + 1, "%H:%M", &parts);
    return rest != NULL && *rest == '\0';
}

static bool position_valid(const char *text) {
    Lsn lsn;
    int64_t xid;
    if (strncmp(text, "lsn:", 4) == 0)
        return lsn_parse(text + 4, &lsn);
    if (strncmp(text, "xid:", 4) == 0)
        return config_number(text + 4, &xid) && xid > 0;
    if (strncmp(text, "time:", 5) == 0)
        return time_valid(text + 5);
    return strcmp(text, "beginning") == 0 || strcmp(text, "end") == 0;
}

/* Form alone: a DSN is looked at by libpq (core/config), because its parser is part of no other room. */
static bool text_parse(const Option *option, const char *text) {
    size_t length = strlen(text);
    switch (option->type) {
    case OPTION_TEXT: return (int64_t)length >= option->min && (int64_t)length <= option->max;
    case OPTION_DSN: return length > 0;
    case OPTION_JOB_NAME: return job_name_valid(text);
    case OPTION_IDENTIFIER: return identifier_valid(text, length);
    case OPTION_SCHEMA: return schema_valid(text);
    case OPTION_TABLE: return table_valid(text);
    case OPTION_PATTERN: return text[0] != '!' && table_valid(text);
    case OPTION_INCLUSION: return table_valid(text + (text[0] == '!'));
    case OPTION_ADDRESS: return address_valid(text);
    case OPTION_URL: return url_valid(text);
    case OPTION_URLS: return urls_valid(text);
    case OPTION_POSITION: return position_valid(text);
    default: return false;
    }
}

bool option_parse(const Option *option, const char *text, OptionValue *out) {
    bool flag = false, parsed = false;
    *out = (OptionValue){.number = 0, .text = text};
    if (option->automatic && strcmp(text, "auto") == 0) {
        out->number = -1;
        return true;
    }
    switch (option->type) {
    case OPTION_BOOL:
        parsed = config_bool(text, &flag);
        out->number = flag;
        return parsed;
    case OPTION_CHOICE: return choice_parse(option->choices, text, &out->number);
    case OPTION_NUMBER: parsed = config_number(text, &out->number); break;
    case OPTION_DURATION: parsed = config_duration_ms(text, &out->number); break;
    case OPTION_SIZE: parsed = config_size_bytes(text, &out->number); break;
    default: return text_parse(option, text);
    }
    if (parsed && out->number == 0 && option->zero)
        return true;
    return parsed && out->number >= option->min && out->number <= option->max;
}

static bool value_equal(const Option *option, const OptionValue *value, Slice text) {
    char copy[64];
    OptionValue other;
    if (text.len >= sizeof copy)
        return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    bool is_text = option->type < OPTION_BOOL || option->type > OPTION_SIZE;
    if (is_text)
        return strcmp(copy, value->text) == 0;
    return option_parse(option, copy, &other) && other.number == value->number;
}

bool option_available(const Option *option, const OptionValue *value) {
    Slice word;
    switch (option->reach) {
    case OPTION_NOW: return true;
    case OPTION_LATER:
        return option->default_text != NULL && !option->computed &&
               value_equal(option, value, slice_text(option->default_text));
    case OPTION_ONLY: break;
    }
    for (int index = 0; option_choice(option->only, index, &word); index++) {
        if (value_equal(option, value, word))
            return true;
    }
    return false;
}

static void words_write(const char *words, Writer *w) {
    Slice word;
    for (int index = 0; option_choice(words, index, &word); index++) {
        writer_text(w, index > 0 ? ", " : "");
        writer_bytes(w, word);
    }
}

static void bound_write(const Option *option, int64_t bound, Writer *w) {
    if (option->type == OPTION_DURATION)
        config_duration_write(w, bound);
    else if (option->type == OPTION_SIZE)
        config_size_write(w, bound);
    else
        writer_format(w, "%lld", (long long)bound);
}

static void range_write(const Option *option, const char *what, Writer *w) {
    writer_text(w, what);
    bound_write(option, option->min, w);
    writer_text(w, " to ");
    bound_write(option, option->max, w);
    writer_text(w, option->zero ? ", or 0" : "");
    writer_text(w, option->automatic ? ", or auto" : "");
}

void option_describe(const Option *option, Writer *w) {
    writer_text(w, option_is_list(option) ? "a list, each item " : "");
    switch (option->type) {
    case OPTION_TEXT:
        writer_format(w, "a text of %lld to %lld bytes", (long long)option->min, (long long)option->max);
        break;
    case OPTION_DSN: writer_text(w, "a connection string of libpq"); break;
    case OPTION_JOB_NAME: writer_format(w, "1 to %d of a-z, 0-9 and _", JOB_NAME_MAX); break;
    case OPTION_IDENTIFIER: writer_format(w, "a name of 1 to %d bytes", NAME_BYTES_MAX); break;
    case OPTION_SCHEMA:
        writer_format(w, "a schema's name of 1 to %d bytes, not of the system", NAME_BYTES_MAX);
        break;
    case OPTION_TABLE: writer_text(w, "schema.table"); break;
    case OPTION_PATTERN: writer_text(w, "schema.table, with * within a part"); break;
    case OPTION_INCLUSION: writer_text(w, "schema.table, with * within a part; behind ! it excludes"); break;
    case OPTION_BOOL: writer_text(w, "yes or no"); break;
    case OPTION_CHOICE:
        writer_text(w, strchr(option->choices, '|') != NULL ? "one of " : "");
        words_write(option->choices, w);
        break;
    case OPTION_NUMBER: range_write(option, "a number of ", w); break;
    case OPTION_DURATION: range_write(option, "a duration of ", w); break;
    case OPTION_SIZE: range_write(option, "a size of ", w); break;
    case OPTION_ADDRESS: writer_text(w, "host:port"); break;
    case OPTION_URL: writer_text(w, "an http or https address, or empty"); break;
    case OPTION_URLS: writer_text(w, "http or https addresses, with commas between"); break;
    case OPTION_POSITION:
        writer_text(w, "beginning, end, lsn:X/X, time:YYYY-MM-DDThh:mm:ssZ or xid:N");
        break;
    }
}

bool option_describe_available(const Option *option, Writer *w) {
    if (option->reach == OPTION_ONLY)
        words_write(option->only, w);
    else if (option->reach == OPTION_LATER && option->default_text != NULL && !option->computed)
        writer_text(w, *option->default_text == '\0' ? "an empty text" : option->default_text);
    else
        return false;
    return true;
}
