#include "snapshot/foreign_key.h"

#include <ctype.h>
#include <string.h>

#include "snapshot/dump_lexer.h"

/* pg_dump says ONLY for every table but a partitioned one. */
#define TABLE "ALTER TABLE ONLY "
#define NAME  "ADD CONSTRAINT "
#define KEY   " FOREIGN KEY"

static Slice slice_between(const char *from, const char *to) {
    while (to > from && isspace((unsigned char)to[-1]))
        to--;
    return (Slice){from, (size_t)(to - from)};
}

static bool ends(Slice text, const char *with) {
    size_t len = strlen(with);
    return text.len >= len && memcmp(text.at + text.len - len, with, len) == 0;
}

bool foreign_key_split(const char *sql, Writer *make, Writer *validate) {
    const char *begin = dump_find(sql, NULL, TABLE);
    const char *add = begin == NULL ? NULL : dump_find(begin, NULL, NAME);
    const char *key = add == NULL ? NULL : dump_find(add, NULL, KEY);
    const char *end = key == NULL ? NULL : dump_find(key, NULL, ";");
    if (end == NULL || dump_find(sql, begin, ";") != NULL || dump_find(end + 1, NULL, ";") != NULL)
        return false;
    Slice statement = slice_between(begin, end);
    if (ends(statement, " NOT VALID") || ends(statement, " NOT ENFORCED"))
        return false;
    writer_bytes(make, statement);
    writer_text(make, " NOT VALID;");
    writer_text(validate, TABLE);
    writer_bytes(validate, slice_between(begin + strlen(TABLE), add));
    writer_text(validate, " VALIDATE CONSTRAINT ");
    writer_bytes(validate, slice_between(add + strlen(NAME), key));
    writer_text(validate, ";");
    return true;
}
