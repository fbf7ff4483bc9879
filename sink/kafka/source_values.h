/* source_values: completes changes whose large values the WAL does not carry, because the statement left them as they are (kafka.toast:
 * complete): by the old row, where that came along, or by the row as it is at the source by now (source_rows.h).
 *
 * What the stream has of a batch is asked for together, table by table: one question for up to 256 changes of the same
 * kind that miss the same columns; a row that several of them name is read once. Of what is large, less is read ahead. A
 * change without a key, or whose row is gone, stays as it is. One thread. */
#ifndef WALFERRY_SINK_SOURCE_VALUES_H
#define WALFERRY_SINK_SOURCE_VALUES_H

#include "proto/event.h"
#include "sink/sink.h"

typedef struct SourceValues SourceValues;

SourceValues *source_values_new(const SinkOptions *options); /* as source_rows_new */
void source_values_free(SourceValues *v);                    /* NULL is fine */

/* The batch whose changes are completed next, in their order; lent until this is called again; NULL: none. */
void source_values_ahead(SourceValues *v, const Batch *batch);

/* The change's new row and what was read of it, into `event`, if something was; in `arena`, but values as long as until the
 * next call. `table`: as its topic has it. False and e as of source_rows_ask. */
bool source_values_complete(SourceValues *v, const Change *change, const EventTable *table, Arena *arena,
                            Event *event, Error *e);

void source_values_rest(SourceValues *v, int64_t now_ms); /* as source_rows_rest */

#endif
