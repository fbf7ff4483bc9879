#include "sink/kafka/group_list.h"

#include <stdlib.h>
#include <string.h>

#include "core/json_text.h"
#include "core/memory.h"
#include "proto/json_value.h"

/* A topic of the job. */
typedef struct Place {
    uint32_t number; /* in this group, from 1; 0: it has none yet */
    uint64_t count;  /* records of the transaction under way */
} Place;

struct GroupList {
    Place *places; /* by the caller's numbers */
    uint32_t place_count;
    uint32_t *named; /* the group's topics: the caller's numbers, in order */
    uint32_t named_count, named_capacity;
    uint32_t *touched; /* likewise, of the transaction under way */
    uint32_t touched_count, touched_capacity;
    uint64_t records;
    Writer topics, transactions, text;
};

GroupList *group_list_new(void) {
    GroupList *l = memory_new(sizeof *l);
    l->topics = writer_new(SIZE_MAX);
    l->transactions = writer_new(SIZE_MAX);
    l->text = writer_new(SIZE_MAX);
    return l;
}

void group_list_free(GroupList *l) {
    if (l == NULL)
        return;
    writer_free(&l->topics);
    writer_free(&l->transactions);
    writer_free(&l->text);
    free(l->places);
    free(l->named);
    free(l->touched);
    free(l);
}

static Place *place_of(GroupList *l, uint32_t topic) {
    if (topic >= l->place_count) {
        uint32_t count = topic + 16;
        l->places = memory_grow(l->places, count * sizeof *l->places);
        memset(l->places + l->place_count, 0, (count - l->place_count) * sizeof *l->places);
        l->place_count = count;
    }
    return &l->places[topic];
}

static void number_add(uint32_t **list, uint32_t *count, uint32_t *capacity, uint32_t number) {
    if (*count == *capacity) {
        *capacity = *capacity == 0 ? 16 : *capacity * 2;
        *list = memory_grow(*list, *capacity * sizeof **list);
    }
    (*list)[(*count)++] = number;
}

void group_list_record(GroupList *l, uint32_t topic, const char *name) {
    Place *place = place_of(l, topic);
    if (place->number == 0) {
        if (l->named_count > 0)
            writer_u8(&l->topics, ',');
        json_text_write(&l->topics, slice_text(name));
        number_add(&l->named, &l->named_count, &l->named_capacity, topic);
        place->number = l->named_count;
    }
    if (place->count++ == 0)
        number_add(&l->touched, &l->touched_count, &l->touched_capacity, topic);
    l->records++;
}

uint64_t group_list_records(const GroupList *l) {
    return l->records;
}

void group_list_end(GroupList *l, uint32_t xid, Lsn end) {
    Writer *out = &l->transactions;
    if (l->records == 0)
        return;
    char lsn[LSN_TEXT_SIZE];
    writer_text(out, out->len > 0 ? ",{\"xid\":" : "{\"xid\":");
    json_integer_write(out, xid);
    writer_text(out, ",\"lsn\":\"");
    writer_text(out, lsn_text(end, lsn));
    writer_text(out, "\",\"count\":");
    json_integer_write(out, (int64_t)l->records);
    writer_text(out, ",\"in\":[");
    for (uint32_t at = 0; at < l->touched_count; at++) {
        Place *place = &l->places[l->touched[at]];
        writer_text(out, at > 0 ? ",[" : "[");
        json_integer_write(out, place->number - 1);
        writer_u8(out, ',');
        json_integer_write(out, (int64_t)place->count);
        writer_u8(out, ']');
        place->count = 0;
    }
    writer_text(out, "]}");
    l->touched_count = 0;
    l->records = 0;
}

size_t group_list_bytes(const GroupList *l) {
    return l->topics.len + l->transactions.len;
}

bool group_list_is_empty(const GroupList *l) {
    return l->transactions.len == 0;
}

Slice group_list_text(GroupList *l) {
    writer_reset(&l->text);
    writer_text(&l->text, "{\"version\":1,\"topics\":[");
    writer_bytes(&l->text, writer_slice(&l->topics));
    writer_text(&l->text, "],\"transactions\":[");
    writer_bytes(&l->text, writer_slice(&l->transactions));
    writer_text(&l->text, "]}");
    return writer_slice(&l->text);
}

void group_list_reset(GroupList *l) {
    for (uint32_t at = 0; at < l->named_count; at++)
        l->places[l->named[at]] = (Place){0, 0};
    l->named_count = l->touched_count = 0;
    l->records = 0;
    writer_reset(&l->topics);
    writer_reset(&l->transactions);
}
