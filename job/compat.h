/* compat: what a job wrote into its topics against what somebody else, such as Debezium, wrote under another prefix of the same
 * cluster: topic by topic, by the rest of their names; from the beginning of each to its end as of the start. Left out are
 * walferry's own topics (the control topics, dead letters). Writes nothing.
 *
 * Memory: the records that wait for their partners, at most half of `memory`, and for each partition of the two topics in work at
 * most an eighth of it, which librdkafka has fetched. */
#ifndef WALFERRY_JOB_COMPAT_H
#define WALFERRY_JOB_COMPAT_H

#include "core/config.h"
#include "job/compat_pairs.h"

typedef struct CompatWish {
    const char *with;          /* the other prefix */
    const char *with_control;  /* the control topic of the job that writes there; NULL: <with>.walferry */
    const char *const *topics; /* without their prefixes */
    int topic_count;           /* 0: all */
} CompatWish;

typedef struct CompatTopic {
    const char *name;  /* without its prefix */
    int number, count; /* of the topics, from 1 */
    int missing; /* this side has no such topic, the other has records in it; -1: both have it, or there are none */
    bool cut[SIDES]; /* its first records are gone */
    double done;     /* 0 to 1 */
    CompatCounts counts;
} CompatTopic;

typedef struct CompatListener {
    void *context;
    CompatFound *found; /* of the topic in work */
    void (*progress)(void *context, const CompatTopic *topic);
    void (*end)(void *context, const CompatTopic *topic);
} CompatListener;

bool compat_topic_differs(const CompatTopic *topic);
/* True also where they differ: the listener has heard of it. */
bool compat_run(const Config *cfg, const CompatWish *wish, const CompatListener *listener, Error *e);

#endif
