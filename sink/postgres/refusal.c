#include "sink/postgres/refusal.h"

#include <inttypes.h>
#include <string.h>

#include "core/binary_type.h"
#include "core/sqlstate.h"

enum { KEY_TEXT_BYTES = 200, VALUE_TEXT_BYTES = 60, VALUE_SHOWN_MAX = 1 << 20 };

bool refusal_is_conflict(const Error *e) {
    static const char *const ours[] = {"22", "23", "44", "54000", "P0001"};
    for (size_t code = 0; e->kind == ERR_DATA && code < sizeof ours / sizeof *ours; code++)
        if (strncmp(e->sqlstate, ours[code], strlen(ours[code])) == 0)
            return true;
    return false;
}

/* At most `limit` bytes of the text, no character cut in two. */
static int short_length(Slice text, size_t limit) {
    size_t length = text.len > limit ? limit : text.len;
    while (length < text.len && length > 0 && ((unsigned char)text.at[length] & 0xC0) == 0x80)
        length--;
    return (int)length;
}

/* " (a=1, b=x", the old key where there is one. Columns that have no room are left out. */
static void write_key_text(Writer *out, const Change *change) {
    const Value *values = change->row.before != NULL ? change->row.before : change->row.after;
    const char *before = " (";
    for (uint16_t column = 0; column < change->rel->column_count; column++) {
        Slice text = values[column].bytes;
        bool binary = values[column].kind == VALUE_BINARY;
        if (!change->rel->columns[column].key || (values[column].kind != VALUE_TEXT && !binary))
            continue;
        Writer shown = writer_new(VALUE_SHOWN_MAX);
        if (binary) {
            binary_type_show(change->rel->columns[column].type, text, &shown);
            text = writer_slice(&shown);
        }
        writer_format(out, "%s%s=%.*s", before, change->rel->columns[column].name,
                      short_length(text, VALUE_TEXT_BYTES), text.len == 0 ? "" : text.at);
        writer_free(&shown);
        before = ", ";
    }
}

void refusal_describe(const Transaction *tx, const Change *change, Error *e) {
    static const char *const verbs[] = {"insert into", "update of", "delete from", "truncate of"};
    char lsn[LSN_TEXT_SIZE];
    if (change == NULL || change->kind > CHANGE_TRUNCATE)
        return;
    Writer key = writer_new(KEY_TEXT_BYTES);
    const Relation *rel = change->kind == CHANGE_TRUNCATE ? change->truncate.rels[0] : change->rel;
    if (change->kind != CHANGE_TRUNCATE)
        write_key_text(&key, change);
    fail_context(e, "%s \"%s.%s\"%s%s in transaction %" PRIu32 " ending at %s", verbs[change->kind],
                 rel->schema, rel->name, writer_string(&key), key.len > 0 ? ")" : "", tx->xid,
                 lsn_text(tx->end, lsn));
    writer_free(&key);
    if (e->hint[0] != '\0')
        return;
    if (sqlstate_is(e, SQLSTATE_INSUFFICIENT_PRIVILEGE))
        fail_hint(e,
                  "at the target: GRANT USAGE ON SCHEMA, and SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON the "
                  "table, to this user; then start again, which goes on from here");
    else if (refusal_is_conflict(e))
        fail_hint(e,
                  "nothing of this transaction is applied: mend what stands in its way at the target, or set "
                  "conflicts for this table, then start again");
    else if (e->kind == ERR_DATA)
        fail_hint(e, "nothing of this transaction is applied: mend what stands in its way at the target, "
                     "then start again");
}
