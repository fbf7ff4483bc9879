#include "snapshot/foreign_key.h"

#include <ctype.h>
#include <string.h>

#include "snapshot/dump_lexer.h"

/* pg_dump says ONLY for every table but a partitioned one. */
#define TABLE "ALTER TABLE ONLY "
#define NAME  "ADD CONSTRAINT "
#define KEY   " FOREIGN KEY"
#define OTHER " REFERENCES "
enum { SQL_MAX_BYTES = 1 << 20 };

static Slice slice_between(const char *from, const char *to) {
    while (to > from && isspace((unsigned char)to[-1]))
        to--;
    return (Slice){from, (size_t)(to - from)};
}

static bool ends(Slice text, const char *with) {
    size_t len = strlen(with);
    return text.len >= len && memcmp(text.at + text.len - len, with, len) == 0;
}

bool foreign_key_split(const char *sql, ForeignKey *out) {
    *out = (ForeignKey){writer_new(SQL_MAX_BYTES), writer_new(SQL_MAX_BYTES), writer_new(SQL_MAX_BYTES)};
    const char *begin = dump_find(sql, NULL, TABLE);
    const char *add = begin == NULL ? NULL : dump_find(begin, NULL, NAME);
    const char *key = add == NULL ? NULL : dump_find(add, NULL, KEY);
    const char *other = key == NULL ? NULL : dump_find(key, NULL, OTHER);
    const char *columns = other == NULL ? NULL : dump_find(other, NULL, "(");
    const char *end = columns == NULL ? NULL : dump_find(columns, NULL, ";");
    if (end == NULL || dump_find(sql, begin, ";") != NULL || dump_find(end + 1, NULL, ";") != NULL)
        return false;
    Slice statement = slice_between(begin, end);
    if (ends(statement, " NOT VALID") || ends(statement, " NOT ENFORCED"))
        return false;
    writer_bytes(&out->make, statement);
    writer_text(&out->make, " NOT VALID;");
    writer_text(&out->validate, TABLE);
    writer_bytes(&out->validate, slice_between(begin + strlen(TABLE), add));
    writer_text(&out->validate, " VALIDATE CONSTRAINT ");
    writer_bytes(&out->validate, slice_between(add + strlen(NAME), key));
    writer_text(&out->validate, ";");
    writer_bytes(&out->referenced, slice_between(other + strlen(OTHER), columns));
    return true;
}

void foreign_key_free(ForeignKey *key) {
    writer_free(&key->make);
    writer_free(&key->validate);
    writer_free(&key->referenced);
}
