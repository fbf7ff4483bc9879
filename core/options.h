/* options: the one table of everything a job file can say. The parser, the defaults, the checks, --help,
 * completion and docs/reference.md are made from it. Knows keys, types and values; not files, flags or where
 * values come from. Constant: any thread. */
#ifndef WALFERRY_CORE_OPTIONS_H
#define WALFERRY_CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/bytes.h"

enum { OPTIONS_MAX = 128, NAME_BYTES_MAX = 63 }; /* NAMEDATALEN - 1 */

typedef enum OptionType {
    OPTION_TEXT,       /* min to max bytes */
    OPTION_DSN,        /* of libpq: a URI or a keyword string */
    OPTION_JOB_NAME,   /* [a-z0-9_]{1,40} */
    OPTION_IDENTIFIER, /* a name at the server, 1 to 63 bytes, unquoted */
    OPTION_SCHEMA,     /* the same, and none of the server's own */
    OPTION_TABLE,      /* schema.table, as config_table_read takes it */
    OPTION_PATTERN,    /* the same with "*" in the parts */
    OPTION_INCLUSION,  /* a pattern, perhaps behind "!" */
    OPTION_BOOL,
    OPTION_CHOICE,
    OPTION_NUMBER,   /* min to max */
    OPTION_DURATION, /* min to max milliseconds, with a unit */
    OPTION_SIZE,     /* min to max bytes, with a unit */
    OPTION_ADDRESS,  /* host:port */
    OPTION_URL,      /* http or https, or "" */
    OPTION_URLS,     /* one or several, with commas between */
    OPTION_POSITION  /* beginning, end, lsn:…, time:…, xid:… */
} OptionType;

typedef enum OptionReach {
    OPTION_LATER, /* not in this version: only the default is accepted, if there is one */
    OPTION_ONLY,  /* in this version only the values of `only` */
    OPTION_NOW
} OptionReach;

/* What stands for "*" in a key. */
typedef enum OptionFree {
    FREE_ANY,
    FREE_SCHEMA, /* a name */
    FREE_TABLE,  /* schema.table */
    FREE_COLUMN  /* schema.table.column; the column's name stands as it is */
} OptionFree;

typedef struct Option {
    const char *key; /* dotted; "*" is a free key, "[]" at the end a list of single values */
    const char *help;
    const char *default_text; /* NULL: off when absent */
    const char *choices;      /* OPTION_CHOICE: "a|b|c", in the order of the enum in Config */
    const char *only;         /* OPTION_ONLY: "a|b" */
    int64_t min, max;
    size_t field; /* of Config, when `stored` */
    size_t part;  /* of a list of mappings: of its Route */
    OptionType type;
    OptionReach reach;
    OptionFree free;
    bool
        stored; /* of a free key: ConfigPairs; of a list of mappings: Routes; else a list of texts: ConfigTexts */
    bool computed;  /* the default text is a description: core/config_resolve makes the value */
    bool zero;      /* 0 is allowed below min: off */
    bool automatic; /* "auto" is allowed: number -1 */
    bool ordered;   /* a list whose choices keep their order */
    bool secret;    /* values never reach a message */
} Option;

typedef struct OptionValue {
    int64_t number;   /* milliseconds, bytes, index of the choice, 0 or 1; -1 for "auto" */
    const char *text; /* the text itself */
} OptionValue;

const Option *options_table(size_t *count);
/* The option that a dotted key ("phases[]", "objects.tables.sales.orders.where") belongs to, or NULL. */
const Option *option_find(const char *key);
/* True when options lie below this key; the second one: when free keys lie above or at it
 * ("objects.tables.a.b"). */
bool option_section(const char *key);
bool option_section_free(const char *key);
bool option_is_list(const Option *option);
bool option_is_of_list(const Option *option); /* a key of the mappings in a list */
/* What stands for "*" in `key`, which is of this option; false when the option has no free key. */
bool option_free_part(const Option *option, const char *key, Slice *out);
/* Whether that is a name as option->free wants it. */
bool option_free_valid(const Option *option, const char *free_part);
/* Writes the key of the option nearest to a mistyped one; false when none is near. */
bool option_nearest(const char *key, char *out, size_t size);
/* The key without "[]"; of a key with many below it that none of can be used, the common part
 * ("objects.rename"). */
void option_feature(const Option *option, Writer *w);

/* Reads one value (one item of a list); false when it has not the option's type or is out of its range. */
bool option_parse(const Option *option, const char *text, OptionValue *out);
/* True when this version does what the value, which has been parsed, asks for. */
bool option_available(const Option *option, const OptionValue *value);
/* What the option takes: "a duration of 100ms to 1h, or 0". */
void option_describe(const Option *option, Writer *w);
/* The values that this version takes when it does not take all: "no"; false when there is nothing to say. */
bool option_describe_available(const Option *option, Writer *w);
/* One word of "a|b|c"; false behind the last. */
bool option_choice(const char *choices, int index, Slice *out);

#endif
