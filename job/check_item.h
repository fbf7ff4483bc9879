/* check_item: what the looks of the check share: a finding, and the session that it is found in. Of the thread that checks. */
#ifndef WALFERRY_JOB_CHECK_ITEM_H
#define WALFERRY_JOB_CHECK_ITEM_H

#include "core/bytes.h"
#include "core/pg.h"
#include "core/selection.h"
#include "core/state.h"
#include "job/check.h"

/* What looking at one item gave. Nothing said: passed. */
typedef struct Finding {
    CheckState state;
    bool left_out; /* there is nothing to look at on this server */
    bool lost;     /* failed in a way for which `run` has exit code 3 */
    Writer seen, fix;
} Finding;

typedef struct Check {
    const Config *cfg;
    int64_t wait_ms;
    Pg *source, *target;                   /* NULL: not reached; the connection's item says why */
    PGresult *source_facts, *target_facts; /* one row each */
    Selection *selection; /* there when the source is; of a resumed job only its own tables */
    JobRecord record;     /* exists = false also when the target was not reached */
    bool state_schema;    /* the state schema exists at the target */
    bool resumed;         /* the job was born: its tables and its slot are expected */
    bool loaded;          /* and every row of the load is there */
    bool same_database;
    int brokers;      /* of Kafka; 0: they do not answer */
    bool interrupted; /* a server that had answered broke off: what was found is worth nothing */
} Check;

enum SourceFact {
    SOURCE_USER,
    SOURCE_DATABASE,
    SOURCE_STARTED,
    SOURCE_ENCODING,
    SOURCE_RECOVERY,
    SOURCE_WAL_LEVEL,
    SOURCE_PLUGIN_LIBRARIES,
    SOURCE_REPLICATION,
    SOURCE_SLOTS_MAX,
    SOURCE_SLOTS_USED, /* not counting ours */
    SOURCE_SLOT_OURS,
    SOURCE_SENDERS_MAX,
    SOURCE_SENDERS_USED, /* not counting those that read a slot of ours */
    SOURCE_STANDBY_NAMES,
    SOURCE_CREATE,
    SOURCE_LARGE_OBJECTS
};
enum TargetFact {
    TARGET_USER,
    TARGET_DATABASE,
    TARGET_STARTED,
    TARGET_ENCODING,
    TARGET_RECOVERY,
    TARGET_CREATE
};
/* Large objects are counted up to here. */
enum { CHECK_COUNT_MAX = 10000 };

/* False and e when it could not be looked at: the item is Failed with that sentence. */
typedef bool CheckLook(Check *c, Finding *out, Error *e);

/* One session of the check: reads only, and never queues for long behind anybody's lock. */
Pg *check_open(const Check *c, const char *dsn, const char *side, Error *e);

/* What was seen, as state says; returns true, so that a look can end with it. */
bool finding_pass(Finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool finding_alert(Finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool finding_fail(Finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line of what mends it. */
void finding_fix(Finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
