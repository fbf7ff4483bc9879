/* source_rows: columns of a table's rows at the source, by the rows' keys, as they are now: for values that a change did not carry.
 * Asked by a connection of its own, which reads only, is opened for the first question and given back by source_rows_rest.
 *
 * What comes back is that of the change or newer, never older: a transaction that is in the stream, but not yet visible to others at the
 * source (its commit waits for a synchronous standby), is waited for. The table is found by its OID, whatever it is named by
 * now; a column that is not what the relation version says (dropped, renamed, another type) is not read. Values are in
 * text form, as in the stream. One thread. */
#ifndef WALFERRY_SINK_SOURCE_ROWS_H
#define WALFERRY_SINK_SOURCE_ROWS_H

#include "core/pg.h"
#include "sink/sink.h"

typedef struct SourceRows SourceRows;

SourceRows *
source_rows_new(const SinkOptions *options); /* lends what they point to; connects to nothing yet */
void source_rows_free(SourceRows *s);        /* NULL is fine */

typedef struct RowsQuestion {
    const Relation *rel;
    const uint16_t *columns; /* of rel: those wanted */
    uint16_t column_count;
    const uint16_t *key; /* of rel */
    uint16_t key_count;
    const Slice *keys; /* key_count texts for each row, with a NUL behind; no row twice */
    int count;
    const uint32_t *xids; /* transactions that have to be visible */
    int xid_count;
} RowsQuestion;

typedef struct RowsAnswer {
    PGresult *
        rows; /* the caller's to clear; NULL: the table, or its key, is not there any more, which is an answer to all */
    int answered; /* so many of the rows, from the first on, at least one: what is large is not read all at once */
    Lsn at;       /* no value is newer */
} RowsAnswer;

/* False and e: ERR_RETRY when the source does not answer, ERR_CONFIG for what a right is missing. Blocks for at most the time of
 * a login, a few statements, and ten seconds for a transaction to become visible. */
bool source_rows_ask(SourceRows *s, const RowsQuestion *question, RowsAnswer *out, Error *e);
/* The value, NULL-terminated; *value is VALUE_ABSENT where it could not be read: the row is gone, or the column. `column`: which
 * of the question's. Views of out->rows. */
Value source_rows_value(const RowsAnswer *answer, int row, uint16_t column);

/* Called now and then: gives the connection back when nobody has asked for half a minute. Clock: clock_ms(). */
void source_rows_rest(SourceRows *s, int64_t now_ms);

#endif
