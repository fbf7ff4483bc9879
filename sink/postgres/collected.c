#include "sink/postgres/collected.h"

#include <stdlib.h>

#include "core/memory.h"

Collected *collected_new(void) {
    Collected *c = memory_new(sizeof *c);
    c->net = net_new();
    c->sent = net_new();
    c->rows = set_rows_new();
    c->copy = writer_new(SIZE_MAX);
    return c;
}

void collected_free(Collected *c) {
    if (c == NULL)
        return;
    net_free(c->net);
    net_free(c->sent);
    set_rows_free(c->rows);
    writer_free(&c->copy);
    free(c);
}

void collected_forget(Collected *c) {
    if (c != NULL)
        net_clear(c->net);
}

void collected_sent_forget(Collected *c) {
    if (c == NULL)
        return;
    net_clear(c->sent);
    c->tables = NULL;
}
