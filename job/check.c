#include "job/check.h"

#include <string.h>

#include "core/clock.h"
#include "job/check_choice.h"
#include "job/check_code.h"
#include "job/check_database.h"
#include "job/check_kafka.h"
#include "job/check_names.h"
#include "job/check_objects.h"
#include "job/check_source.h"
#include "job/check_tables.h"
#include "job/check_target.h"
#include "job/check_text.h"

enum { TEXT_LIMIT = 1 << 20, AGAIN_AFTER_MS = 200 };

/* When an item is looked at. */
enum {
    ON_SOURCE = 1,
    ON_TARGET = 2,
    FOR_STREAM = 4, /* the job follows the source */
    FOR_SCHEMA = 8, /* it makes the definitions */
    FOR_LOAD = 16,  /* rows are still to be loaded */
    WHEN_NEW = 32,  /* the job was not born yet */
    WHEN_RESUMED = 64
};

typedef struct Item {
    const char *name;
    unsigned when;
    CheckLook *look;
} Item;

/* In the order in which a person mends them: what stands first may be why others fail. */
static const Item ITEMS[] = {
    {"source-connection", 0, check_source_connection},
    {"target-connection", 0, check_target_connection},
    {"target-same-database", ON_SOURCE | ON_TARGET, check_same_database},
    {"encryption", 0, check_encryption},
    {"source-version", ON_SOURCE, check_source_version},
    {"target-version", ON_TARGET, check_target_version},
    {"source-is-primary", ON_SOURCE, check_source_primary},
    {"wal-level", ON_SOURCE | FOR_STREAM, check_wal_level},
    {"output-plugin-libraries", ON_SOURCE | FOR_STREAM, check_plugin_libraries},
    {"replication-role", ON_SOURCE | FOR_STREAM, check_replication_role},
    {"replication-slots", ON_SOURCE | FOR_STREAM, check_replication_slots},
    {"wal-senders", ON_SOURCE | FOR_STREAM, check_wal_senders},
    {"synchronous-standby", ON_SOURCE | FOR_STREAM, check_synchronous_standby},
    {"publication-rights", ON_SOURCE | FOR_STREAM, check_publication_rights},
    {"replica-identity", ON_SOURCE | FOR_STREAM, check_replica_identity},
    {"objects", ON_SOURCE, check_objects},
    {"dml", ON_SOURCE | FOR_STREAM, check_dml},
    {"row-filters", ON_SOURCE | WHEN_NEW, check_row_filters},
    {"select-rights", ON_SOURCE | FOR_LOAD, check_select_rights},
    {"row-security", ON_SOURCE | FOR_LOAD, check_row_security},
    {"unlogged-tables", ON_SOURCE | FOR_STREAM, check_unlogged_tables},
    {"large-objects", ON_SOURCE, check_large_objects},
    {"database-encoding", ON_SOURCE | ON_TARGET, check_database_encoding},
    {"database-locale", ON_SOURCE | ON_TARGET, check_database_locale},
    {"database-settings", ON_SOURCE | ON_TARGET | FOR_SCHEMA, check_database_settings},
    {"long-transactions", ON_SOURCE | FOR_STREAM | FOR_LOAD, check_long_transactions},
    {"prepared-transactions", ON_SOURCE | FOR_STREAM, check_prepared_transactions},
    {"two-phase", ON_SOURCE | ON_TARGET | FOR_STREAM, check_two_phase},
    {"heartbeat", ON_SOURCE | FOR_STREAM, check_heartbeat},
    {"ddl-trigger", ON_SOURCE | FOR_STREAM, check_ddl_trigger},
    {"slot-name", ON_SOURCE | ON_TARGET | FOR_STREAM | WHEN_NEW, check_slot_name},
    {"slot", ON_SOURCE | FOR_STREAM | WHEN_RESUMED, check_slot},
    {"slot-timeout", ON_SOURCE | FOR_STREAM, check_slot_timeout},
    {"target-rights", ON_TARGET, check_target_rights},
    {"existing-tables", ON_SOURCE | ON_TARGET | WHEN_NEW, check_existing_tables},
    {"left-out", ON_SOURCE | FOR_SCHEMA | WHEN_NEW, check_left_out},
    {"renamed-in-code", ON_SOURCE | FOR_SCHEMA | WHEN_NEW, check_renamed_in_code},
    {"rename-rights", ON_SOURCE | ON_TARGET | FOR_SCHEMA | WHEN_NEW, check_rename_rights},
    {"extensions", ON_SOURCE | ON_TARGET | FOR_SCHEMA | WHEN_NEW, check_extensions},
    {"extension-rows", ON_SOURCE | ON_TARGET | FOR_LOAD, check_extension_rows},
    {"roles", ON_SOURCE | ON_TARGET | FOR_SCHEMA | WHEN_NEW, check_roles},
    {"event-triggers", ON_SOURCE | ON_TARGET | FOR_SCHEMA | WHEN_NEW, check_event_triggers},
    {"lock-places", ON_SOURCE | ON_TARGET | FOR_SCHEMA | WHEN_NEW, check_lock_places},
    {"target-row-security", ON_SOURCE | ON_TARGET, check_target_row_security},
    {"always-triggers", ON_SOURCE | ON_TARGET | FOR_STREAM, check_always_triggers},
    {"replica-role", ON_TARGET | FOR_STREAM, check_replica_role},
    {"kafka", 0, check_kafka},
    {"kafka-registry", 0, check_kafka_registry},
    {"kafka-topics", ON_SOURCE | FOR_STREAM, check_kafka_topics},
    {"kafka-keys", ON_SOURCE | FOR_STREAM, check_kafka_keys},
    {"kafka-toast", ON_SOURCE | FOR_STREAM, check_kafka_toast},
    {"pg-dump", ON_SOURCE | FOR_SCHEMA | FOR_LOAD, check_pg_dump},
};
enum { ITEM_COUNT = sizeof ITEMS / sizeof *ITEMS };

static bool item_applies(const Check *c, unsigned when) {
    const Config *cfg = c->cfg;
    bool unneeded = ((when & FOR_STREAM) && !cfg->phases.incremental) ||
                    ((when & FOR_SCHEMA) && !cfg->phases.schema) || ((when & FOR_LOAD) && c->loaded) ||
                    ((when & WHEN_NEW) && c->resumed) || ((when & WHEN_RESUMED) && !c->resumed);
    bool unreached = ((when & ON_SOURCE) && c->source == NULL) || ((when & ON_TARGET) && c->target == NULL);
    return !unneeded && !unreached;
}

/* ---- the report ---- */

static bool is_ignored(const CheckOptions *options, const char *name) {
    for (int n = 0; n < options->ignore_count; n++)
        if (strcmp(options->ignore[n], name) == 0)
            return true;
    return false;
}

static void report_add(CheckReport *report, const CheckOptions *options, const char *name, Finding *f) {
    CheckItem *item = &report->items[report->count++];
    bool first = report->failed == 0;
    *item = (CheckItem){.name = name,
                        .state = f->state,
                        .seen = arena_text(report->arena, writer_slice(&f->seen)),
                        .fix = arena_text(report->arena, writer_slice(&f->fix))};
    if (f->state == CHECK_ALERT && is_ignored(options, name))
        item->state = CHECK_IGNORED;
    switch (item->state) {
    case CHECK_PASSED: report->passed++; break;
    case CHECK_ALERT: report->alerts++; break;
    case CHECK_IGNORED: report->ignored++; break;
    case CHECK_FAILED:
        report->failed++;
        report->lost = first ? f->lost : report->lost;
        break;
    }
}

static void item_look(Check *c, const Item *item, const CheckOptions *options, CheckReport *report) {
    Finding f = {.seen = writer_new(TEXT_LIMIT), .fix = writer_new(TEXT_LIMIT)};
    Error e = {0};
    if (!item->look(c, &f, &e)) {
        writer_reset(&f.seen);
        writer_reset(&f.fix);
        finding_fail(&f, "%s", e.text);
        finding_fix(&f, "%s", e.hint[0] != '\0' ? e.hint : "mend what the server says, then check again");
        f.left_out = false;
        if (e.kind == ERR_RETRY && report->failed == 0)
            report->unreachable = true;
        c->interrupted = c->interrupted || (e.connection && item->when != 0);
    }
    if (!f.left_out)
        report_add(report, options, item->name, &f);
    writer_free(&f.seen);
    writer_free(&f.fix);
}

static bool ignore_check(const CheckOptions *options, Error *e) {
    const char *names[ITEM_COUNT];
    for (int item = 0; item < ITEM_COUNT; item++)
        names[item] = ITEMS[item].name;
    for (int n = 0; n < options->ignore_count; n++) {
        bool known = false;
        for (int item = 0; item < ITEM_COUNT && !known; item++)
            known = strcmp(names[item], options->ignore[n]) == 0;
        if (known)
            continue;
        const char *near = config_nearest(options->ignore[n], names, ITEM_COUNT);
        fail(e, ERR_CONFIG, "check has no item \"%s\"", options->ignore[n]);
        if (near != NULL)
            return fail_hint(e, "did you mean \"%s\"?", near);
        return fail_hint(e, "\"walferry check\" lists the items");
    }
    return true;
}

/* All items once; false: a server broke off on the way. */
static bool items_look(const Config *cfg, const CheckOptions *options, CheckReport *out) {
    *out = (CheckReport){.arena = arena_new()};
    out->items = arena_alloc(out->arena, ITEM_COUNT * sizeof *out->items);
    Check c = {.cfg = cfg, .wait_ms = options->wait_ms};
    for (int item = 0; item < ITEM_COUNT && !c.interrupted; item++)
        if (item_applies(&c, ITEMS[item].when))
            item_look(&c, &ITEMS[item], options, out);
    PQclear(c.source_facts);
    PQclear(c.target_facts);
    selection_free(c.selection);
    pg_close(c.source);
    pg_close(c.target);
    return !c.interrupted;
}

/* A server that restarts in the middle is waited for as one that is away at the start is. */
bool check_run(const Config *cfg, const CheckOptions *options, CheckReport *out, Error *e) {
    int64_t deadline_ms = clock_ms() + options->wait_ms;
    *out = (CheckReport){0};
    if (!ignore_check(options, e))
        return false;
    while (!items_look(cfg, options, out) && clock_ms() < deadline_ms) {
        check_free(out);
        clock_sleep_ms(AGAIN_AFTER_MS);
    }
    return true;
}

void check_free(CheckReport *report) {
    arena_free(report->arena);
    *report = (CheckReport){0};
}

const char *check_state_name(CheckState state) {
    switch (state) {
    case CHECK_PASSED: return "passed";
    case CHECK_ALERT: return "alert";
    case CHECK_FAILED: return "failed";
    case CHECK_IGNORED: return "ignored";
    }
    return "unknown";
}

json_t *check_json(const CheckReport *report) {
    json_t *items = json_array();
    for (int n = 0; n < report->count; n++) {
        const CheckItem *item = &report->items[n];
        json_t *object = json_object();
        json_object_set_new(object, "name", json_string(item->name));
        json_object_set_new(object, "state", json_string(check_state_name(item->state)));
        json_object_set_new(object, "seen", text_json(item->seen));
        json_object_set_new(object, "fix", text_json(item->fix));
        json_array_append_new(items, object);
    }
    return json_pack("{s:o, s:i, s:i, s:i, s:i}", "items", items, "passed", report->passed, "alerts",
                     report->alerts, "failed", report->failed, "ignored", report->ignored);
}
