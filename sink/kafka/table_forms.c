#include "sink/kafka/table_forms.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"

struct TableForms {
    const Format *format;
    size_t bytes, most_bytes;
    TableForm *newest, *oldest; /* of those that are there */
};

TableForms *table_forms_new(const Format *format, size_t most_bytes) {
    TableForms *f = memory_new(sizeof *f);
    *f = (TableForms){.format = format, .most_bytes = most_bytes};
    return f;
}

void table_forms_free(TableForms *f) {
    assert(f == NULL || f->newest == NULL);
    free(f);
}

static void link_take(TableForms *f, TableForm *form) {
    *(form->newer != NULL ? &form->newer->older : &f->newest) = form->older;
    *(form->older != NULL ? &form->older->newer : &f->oldest) = form->newer;
}

static void link_put(TableForms *f, TableForm *form) {
    form->newer = NULL;
    form->older = f->newest;
    *(f->newest != NULL ? &f->newest->newer : &f->oldest) = form;
    f->newest = form;
}

void table_form_forget(TableForms *f, TableForm *form) {
    if (form->arena == NULL)
        return;
    link_take(f, form);
    form->key_id = format_key_id(form->table);
    form->value_id = format_value_id(form->table);
    f->bytes -= arena_bytes(form->arena);
    arena_free(form->arena);
    form->arena = NULL;
    form->table = NULL;
}

FormatTable *table_form_make(TableForms *f, TableForm *form, const EventTable *facts, Error *e) {
    Arena *arena = arena_new();
    FormatTable *table = format_table_new(arena, f->format, facts, e);
    if (table == NULL) {
        arena_free(arena);
        return NULL;
    }
    form->facts = facts;
    form->arena = arena;
    form->table = table;
    link_put(f, form);
    f->bytes += arena_bytes(arena);
    while (f->bytes > f->most_bytes && f->oldest != form)
        table_form_forget(f, f->oldest);
    return table;
}

const FormatTable *table_form_use(TableForms *f, TableForm *form) {
    if (f->newest == form)
        return form->table;
    if (form->arena != NULL) {
        link_take(f, form);
        link_put(f, form);
        return form->table;
    }
    Error none;
    FormatTable *table = table_form_make(f, form, form->facts, &none);
    assert(table != NULL); /* of the same facts as before */
    format_table_ids(table, form->key_id, form->value_id);
    return table;
}
