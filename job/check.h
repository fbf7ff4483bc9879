/* check: the precheck: a list of items, one of a kind, each Passed, Alert, Failed or Ignored, with what was seen and
 * the exact statement or setting that mends it. `run` makes the same check and ends with 2 on a Failed item.
 * Reads only; makes nothing on either side: a row filter is tried in a transaction that is rolled back.
 *
 * check.c has the list of items, their order, and when each applies. The looks are in check_source, check_names, check_choice,
 * check_tables, check_target (with check_existing and check_keep), check_objects, check_code, check_database and check_kafka;
 * they stand on check_item (findings) and check_text. */
#ifndef WALFERRY_JOB_CHECK_H
#define WALFERRY_JOB_CHECK_H

#include <jansson.h>

#include "core/arena.h"
#include "core/config.h"
#include "core/error.h"

typedef enum CheckState { CHECK_PASSED, CHECK_ALERT, CHECK_FAILED, CHECK_IGNORED } CheckState;

typedef struct CheckItem {
    const char *name; /* fixed kebab-case word: "wal-level", "replica-identity", … */
    CheckState state;
    const char *seen; /* what was found; up to 20 objects and the count */
    const char *fix;  /* "" when passed */
} CheckItem;

typedef struct CheckReport {
    Arena *arena;
    CheckItem *items;
    int count, passed, alerts, failed, ignored;
    bool unreachable; /* the first Failed item: a server did not answer; for `run`, exit 6 instead of 2 */
    bool lost;        /* the first Failed item: the slot is somebody else's; for `run`, exit 3 instead of 2 */
} CheckReport;

typedef struct CheckOptions {
    const char *const *ignore; /* item names whose Alert becomes Ignored */
    int ignore_count;
    int64_t wait_ms; /* how long each server is tried */
} CheckOptions;

/* False only when an argument is wrong (an unknown item in `ignore`); servers that cannot be reached are Failed items.
 * A job that exists already is checked as a resumed one: its slot, publication and tables are expected. */
bool check_run(const Config *cfg, const CheckOptions *options, CheckReport *out, Error *e);
void check_free(CheckReport *report);
const char *check_state_name(CheckState state); /* "passed", "alert", "failed", "ignored" */
json_t *check_json(const CheckReport *report);

#endif
