/* group_list: which transactions a group of the Kafka sink has, as the control topic's record tells it (control_topic.h):
 *
 *   {"version":1,"topics":["shop.public.a"],"transactions":[{"xid":571,"lsn":"0/16B3748","count":4,"in":[[0,4]]}]}
 *
 * `count`: records of changes, tombstones with them; `in`: how many of them are in which topic. Transactions without records are not
 * listed. Pure; one thread. */
#ifndef WALFERRY_SINK_GROUP_LIST_H
#define WALFERRY_SINK_GROUP_LIST_H

#include "core/bytes.h"
#include "core/lsn.h"

typedef struct GroupList GroupList;

GroupList *group_list_new(void);
void group_list_free(GroupList *l);

/* One record of the transaction that is under way; topics are numbered from 0, by the caller, for as long as the list lives.
 * `name` has to live until the next group_list_reset. */
void group_list_record(GroupList *l, uint32_t topic, const char *name);
uint64_t group_list_records(const GroupList *l); /* of the transaction under way */
void group_list_end(GroupList *l, uint32_t xid, Lsn end);

size_t group_list_bytes(const GroupList *l); /* about what the text will weigh */
bool group_list_is_empty(const GroupList *l);
Slice group_list_text(GroupList *l); /* valid until the next call */
void group_list_reset(GroupList *l);

#endif
