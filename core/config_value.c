#include "core/config_value.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "core/config.h"

enum { NEAREST_MAX = 128 };

typedef struct Unit {
    const char *name;
    int64_t factor;
} Unit;

static const Unit DURATION_UNITS[] = {
    {"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}};
static const Unit SIZE_UNITS[] = {
    {"TiB", INT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}};
enum { UNIT_COUNT = 5 };

/* Reads digits; *end is the first character behind them. False without digits or beyond int64. */
static bool digits_read(const char *text, int64_t *out, const char **end) {
    int64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *at - '0', &value))
            return false;
    }
    *out = value;
    *end = at;
    return at != text;
}

bool config_number(const char *text, int64_t *out) {
    bool negative = *text == '-';
    const char *end;
    if (!digits_read(text + negative, out, &end) || *end != '\0')
        return false;
    if (negative)
        *out = -*out;
    return true;
}

static bool quantity_read(const char *text, const Unit *units, int64_t *out) {
    const char *end;
    int64_t value;
    if (!digits_read(text, &value, &end))
        return false;
    if (*end == '\0') {
        *out = 0;
        return value == 0;
    }
    for (int unit = 0; unit < UNIT_COUNT; unit++) {
        if (strcmp(end, units[unit].name) == 0)
            return !__builtin_mul_overflow(value, units[unit].factor, out);
    }
    return false;
}

bool config_duration_ms(const char *text, int64_t *out) {
    return quantity_read(text, DURATION_UNITS, out);
}

bool config_size_bytes(const char *text, int64_t *out) {
    return quantity_read(text, SIZE_UNITS, out);
}

static void quantity_write(Writer *w, const Unit *units, int64_t value) {
    const Unit *unit = units;
    while (value != 0 && value % unit->factor != 0)
        unit++;
    if (value == 0)
        writer_text(w, "0");
    else
        writer_format(w, "%lld%s", (long long)(value / unit->factor), unit->name);
}

void config_duration_write(Writer *w, int64_t ms) {
    quantity_write(w, DURATION_UNITS, ms);
}

void config_size_write(Writer *w, int64_t bytes) {
    quantity_write(w, SIZE_UNITS, bytes);
}

bool config_bool(const char *text, bool *out) {
    static const char *const WORDS[] = {"no", "yes", "false", "true", "off", "on"};
    for (size_t word = 0; word < sizeof WORDS / sizeof *WORDS; word++) {
        if (strcasecmp(text, WORDS[word]) == 0) {
            *out = word % 2 == 1;
            return true;
        }
    }
    return false;
}

/* One part of a name; NULL when it is none, else what stands behind it. */
static const char *part_read(const char *at, char out[NAME_BYTES_MAX + 1]) {
    bool quoted = *at == '"', closed = !quoted;
    size_t length = 0;
    for (at += quoted; *at != '\0' && (quoted || *at != '.'); at++) {
        if (quoted && *at == '"' && *++at != '"') {
            closed = true;
            break;
        }
        if (length == NAME_BYTES_MAX || *at == '\n')
            return NULL;
        out[length++] = *at;
    }
    out[length] = '\0';
    return length > 0 && closed ? at : NULL;
}

bool config_table_read(const char *text, ConfigName *out, const char **rest) {
    const char *at = part_read(text, out->schema);
    if (at == NULL || *at != '.')
        return false;
    at = part_read(at + 1, out->table);
    if (at == NULL)
        return false;
    if (rest == NULL)
        return *at == '\0';
    *rest = at + 1;
    return *at == '.';
}

/* Length of the character at `at`, 0 when it is none (RFC 3629, section 4). */
static size_t character_length(const unsigned char *at, size_t left) {
    unsigned char first = at[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xC2 && first < 0xE0 ? 2 : first >= 0xE0 && first < 0xF0 ? 3 : 4;
    if (first < 0xC2 || first > 0xF4 || left < length)
        return 0;
    for (size_t byte = 1; byte < length; byte++) {
        if ((at[byte] & 0xC0) != 0x80)
            return 0;
    }
    bool overlong = (first == 0xE0 && at[1] < 0xA0) || (first == 0xF0 && at[1] < 0x90);
    bool surrogate = first == 0xED && at[1] >= 0xA0;
    bool beyond = first == 0xF4 && at[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : length;
}

bool config_utf8_valid(Slice text) {
    const unsigned char *at = (const unsigned char *)text.at;
    for (size_t used = 0; used < text.len;) {
        size_t length = character_length(at + used, text.len - used);
        if (length == 0)
            return false;
        used += length;
    }
    return true;
}

const char *config_shown(char *out, size_t size, const char *text) {
    static const char CUT[] = "...";
    assert(size > sizeof CUT);
    size_t left = strlen(text), used = 0;
    size_t room = left < size ? left : size - sizeof CUT;
    while (left > 0) {
        size_t length = character_length((const unsigned char *)text, left);
        bool plain = length > 0 && !iscntrl((unsigned char)*text);
        length = length == 0 ? 1 : length;
        if (used + length > room) {
            memcpy(out + used, CUT, sizeof CUT);
            return out;
        }
        memcpy(out + used, plain ? text : "?", plain ? length : 1);
        used += length;
        text += length;
        left -= length;
    }
    out[used] = '\0';
    return out;
}

static bool letters_equal(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Damerau-Levenshtein, where no part is changed twice: three rows of the table are enough. */
static size_t word_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t rows[3][NEAREST_MAX + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        above[j] = j;
    memcpy(before, above, sizeof rows[0]);
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t change = letters_equal(a[i - 1], b[j - 1]) ? 0 : 1;
            row[j] = smaller(above[j - 1] + change, smaller(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && letters_equal(a[i - 1], b[j - 2]) && letters_equal(a[i - 2], b[j - 1]))
                row[j] = smaller(row[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_length];
}

const char *config_nearest(const char *word, const char *const *names, size_t count) {
    size_t length = strlen(word), best = 2 + length / 5; /* one beyond what still counts as near */
    const char *nearest = NULL;
    if (length == 0 || length > NEAREST_MAX)
        return NULL;
    best = smaller(best, length);
    for (size_t name = 0; name < count; name++) {
        size_t name_length = strlen(names[name]);
        if (name_length > NEAREST_MAX)
            continue;
        size_t distance = word_distance(word, length, names[name], name_length);
        if (distance < best) {
            best = distance;
            nearest = names[name];
        }
    }
    return nearest;
}
