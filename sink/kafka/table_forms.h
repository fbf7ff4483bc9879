/* table_forms: what encodes the records of relation versions, as far as it is in use. Beyond so many bytes what was used longest
 * ago is forgotten; needed again, it is made again of the same facts and with the same ids of its schemas, which says the
 * same. Nobody is asked for it. One thread. */
#ifndef WALFERRY_SINK_TABLE_FORMS_H
#define WALFERRY_SINK_TABLE_FORMS_H

#include "proto/format.h"

typedef struct TableForms TableForms;

/* A version's, where its owner keeps it. Zeroed: none yet. */
typedef struct TableForm {
    const EventTable *facts;
    uint32_t key_id, value_id;       /* while it is forgotten */
    Arena *arena;                    /* NULL: forgotten */
    FormatTable *table;              /* in it */
    struct TableForm *newer, *older; /* in the order of their use */
} TableForm;

/* Lends format. The newest is kept in any case. */
TableForms *table_forms_new(const Format *format, size_t most_bytes);
void table_forms_free(TableForms *f); /* behind all forms; NULL is fine */

/* Lends facts. NULL and e as of format_table_new. Ids are told to what comes back. */
FormatTable *table_form_make(TableForms *f, TableForm *form, const EventTable *facts, Error *e);
/* Good until the next call. */
const FormatTable *table_form_use(TableForms *f, TableForm *form);
void table_form_forget(TableForms *f, TableForm *form); /* also one of which there is nothing */

#endif
