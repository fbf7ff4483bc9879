#include "job/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/audit.h"
#include "core/clock.h"
#include "core/dead_letter.h"
#include "core/mapping.h"
#include "core/pg.h"
#include "core/state.h"
#include "decoder/slot.h"

static const char *const SOURCE_LSN_SQL =
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END";

/* Progress, sums and tables as they were at one moment, whoever moves them meanwhile. */
static const char SQL_ONE_MOMENT[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/* One try for each server: whoever asks for a status wants an answer now. */
enum { STATUS_CONNECT_MS = 10000, NAME_SIZE = 200 };

#define UNKNOWN   INT64_MIN
#define NO_TABLE  "42P01"
#define NO_COLUMN "42703"

/* What both ways of looking fill in; json_t members are given away to the object. */
typedef struct Facts {
    const char *phase, *state, *reason, *wal_status, *error;
    int64_t since_us;
    uint64_t system_id;
    uint32_t timeline;
    Lsn source, confirmed, restart, applied;
    int64_t safe_bytes, retained_bytes;
    int64_t lag_ms, received_ms, decoded_ms, queued_ms, applied_ms;
    json_t *tables, *throttle, *builds;
    int64_t early, early_given_up;
    int64_t rows_copied, changes, transactions, bytes, conflicts, dead_letters, left_out, retries;
    int64_t rss_bytes;
    const char *gear; /* NULL: unknown */
    int64_t workers;
    Lsn audit_since; /* none: nothing is counted */
    char audit_broken[AUDIT_REASON_SIZE];
} Facts;

static Facts facts_unknown(void) {
    return (Facts){.since_us = UNKNOWN,
                   .safe_bytes = UNKNOWN,
                   .retained_bytes = UNKNOWN,
                   .lag_ms = UNKNOWN,
                   .received_ms = UNKNOWN,
                   .decoded_ms = UNKNOWN,
                   .queued_ms = UNKNOWN,
                   .applied_ms = UNKNOWN,
                   .tables = json_array(),
                   .throttle = json_null(),
                   .builds = json_array(),
                   .rows_copied = UNKNOWN,
                   .changes = UNKNOWN,
                   .transactions = UNKNOWN,
                   .bytes = UNKNOWN,
                   .conflicts = UNKNOWN,
                   .dead_letters = UNKNOWN,
                   .left_out = UNKNOWN,
                   .workers = UNKNOWN,
                   .early = UNKNOWN,
                   .early_given_up = UNKNOWN,
                   .retries = UNKNOWN,
                   .rss_bytes = UNKNOWN};
}

static json_t *json_number(int64_t value) {
    return value == UNKNOWN ? json_null() : json_integer(value);
}

/* Metrics say -1 where they do not know. */
static int64_t known(int64_t value) {
    return value < 0 ? UNKNOWN : value;
}

/* NULL and "" are null. A server's message may be in any encoding, JSON is UTF-8 only. */
static json_t *json_words(const char *text) {
    if (text == NULL || *text == '\0')
        return json_null();
    json_t *whole = json_string(text);
    if (whole != NULL)
        return whole;
    char plain[600];
    size_t length = 0;
    for (; text[length] != '\0' && length + 1 < sizeof plain; length++)
        plain[length] = (unsigned char)text[length] < 0x80 ? text[length] : '?';
    return json_stringn(plain, length);
}

static json_t *json_lsn(Lsn lsn) {
    char text[LSN_TEXT_SIZE];
    return lsn_is_none(lsn) ? json_null() : json_string(lsn_text(lsn, text));
}

static json_t *json_time(int64_t wall_us) {
    if (wall_us == UNKNOWN || wall_us == 0)
        return json_null();
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm parts;
    char text[40];
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return json_string(text);
}

/* A text, because JSON readers that keep numbers as doubles (jq, JavaScript) would round it. */
static json_t *json_system_id(uint64_t system_id) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, system_id);
    return system_id == 0 ? json_null() : json_string(text);
}

static void put(json_t *object, const char *key, json_t *value) {
    json_object_set_new(object, key, value);
}

static json_t *facts_source(const Facts *facts) {
    json_t *source = json_object();
    put(source, "system_identifier", json_system_id(facts->system_id));
    put(source, "timeline", json_number(facts->timeline == 0 ? UNKNOWN : (int64_t)facts->timeline));
    put(source, "lsn", json_lsn(facts->source));
    return source;
}

static json_t *facts_slot(const Config *cfg, const Facts *facts) {
    json_t *slot = json_object();
    put(slot, "name", cfg->phases.incremental ? json_words(cfg->slot) : json_null());
    put(slot, "confirmed_lsn", json_lsn(facts->confirmed));
    put(slot, "restart_lsn", json_lsn(facts->restart));
    put(slot, "wal_status", json_words(facts->wal_status));
    put(slot, "safe_wal_bytes", json_number(facts->safe_bytes));
    put(slot, "retained_bytes", json_number(facts->retained_bytes));
    return slot;
}

static json_t *facts_lag(const Facts *facts) {
    bool both = !lsn_is_none(facts->source) && !lsn_is_none(facts->applied);
    json_t *stages = json_object(), *lag = json_object();
    put(stages, "received_ms", json_number(facts->received_ms));
    put(stages, "decoded_ms", json_number(facts->decoded_ms));
    put(stages, "queued_ms", json_number(facts->queued_ms));
    put(stages, "applied_ms", json_number(facts->applied_ms));
    put(lag, "bytes",
        json_number(both ? (int64_t)lsn_distance_bytes(facts->applied, facts->source) : UNKNOWN));
    put(lag, "ms", json_number(facts->lag_ms));
    put(lag, "stages", stages);
    return lag;
}

static json_t *facts_audit(const Facts *facts) {
    if (lsn_is_none(facts->audit_since))
        return json_null();
    json_t *audit = json_object();
    put(audit, "since", json_lsn(facts->audit_since));
    put(audit, "broken", json_words(facts->audit_broken));
    return audit;
}

static json_t *facts_totals(const Facts *facts) {
    json_t *totals = json_object();
    put(totals, "rows_copied", json_number(facts->rows_copied));
    put(totals, "changes", json_number(facts->changes));
    put(totals, "transactions", json_number(facts->transactions));
    put(totals, "bytes", json_number(facts->bytes));
    put(totals, "conflicts", json_number(facts->conflicts));
    put(totals, "dead_letters", json_number(facts->dead_letters));
    put(totals, "left_out", json_number(facts->left_out));
    put(totals, "retries", json_number(facts->retries));
    put(totals, "early", json_number(facts->early));
    put(totals, "early_given_up", json_number(facts->early_given_up));
    return totals;
}

static json_t *facts_json(const Config *cfg, const Facts *facts) {
    json_t *status = json_object();
    put(status, "job", json_words(cfg->name));
    put(status, "phase", json_words(facts->phase));
    put(status, "state", json_words(facts->state));
    put(status, "reason", json_words(facts->reason));
    put(status, "since", json_time(facts->since_us));
    put(status, "source", facts_source(facts));
    put(status, "slot", facts_slot(cfg, facts));
    put(status, "applied_lsn", json_lsn(facts->applied));
    put(status, "lag", facts_lag(facts));
    put(status, "tables", facts->tables);
    put(status, "builds", facts->builds);
    put(status, "totals", facts_totals(facts));
    put(status, "audit", facts_audit(facts));
    put(status, "throttle", facts->throttle);
    put(status, "gear", facts->gear == NULL ? json_null() : json_string(facts->gear));
    put(status, "workers", json_number(facts->workers));
    put(status, "rss_bytes", json_number(facts->rss_bytes));
    put(status, "error", json_words(facts->error));
    return status;
}

static json_t *table_json(const char *name, const char *target, TableStage stage, int64_t rows,
                          int64_t rows_estimated, int64_t bytes) {
    json_t *table = json_object();
    put(table, "name", json_words(name));
    put(table, "target", json_words(target));
    put(table, "state", json_string(table_stage_name(stage)));
    put(table, "rows", json_number(rows));
    put(table, "rows_estimated", json_number(rows_estimated));
    put(table, "bytes", json_number(bytes));
    put(table, "bytes_per_s", json_null());
    put(table, "left_ms", json_null());
    return table;
}

/* Applied ones by kind, what came and what was left out of it; "equal": the sums of core/audit.h agree. */
static void put_changes(json_t *table, const int64_t *counts, int64_t received, int64_t left_out,
                        bool equal) {
    static const char *const kinds[AUDIT_KINDS] = {"insert", "update", "delete", "truncate"};
    json_t *changes = json_object();
    for (int kind = 0; kind < AUDIT_KINDS; kind++)
        put(changes, kinds[kind], json_number(counts[kind]));
    put(changes, "received", json_number(received));
    put(changes, "left_out", json_number(left_out));
    put(changes, "equal", json_boolean(equal));
    put(table, "changes", changes);
}

static void put_metrics_changes(json_t *shown, const TableMetrics *table) {
    int64_t counts[AUDIT_KINDS];
    for (int kind = 0; kind < AUDIT_KINDS; kind++)
        counts[kind] = atomic_load(&table->changes[kind]);
    put_changes(shown, counts, atomic_load(&table->received), atomic_load(&table->left_out),
                !atomic_load(&table->uneven));
}

static void put_stored_changes(json_t *shown, const AuditThree *sums) {
    int64_t counts[AUDIT_KINDS];
    for (int kind = 0; kind < AUDIT_KINDS; kind++)
        counts[kind] = (int64_t)sums->applied.counts[kind];
    put_changes(shown, counts, (int64_t)audit_total(&sums->received), (int64_t)audit_total(&sums->left_out),
                audit_even(sums));
}

static json_t *build_json(const BuildMetrics *build) {
    json_t *object = json_object();
    put(object, "name", json_words(build->name));
    put(object, "table", json_words(build->table));
    put(object, "step", json_words(build->step));
    put(object, "done", json_number(build->done));
    put(object, "total", build->total > 0 ? json_number(build->total) : json_null());
    return object;
}

int64_t status_lag_ms(const Config *cfg, Metrics *metrics, int64_t now_us) {
    int64_t beat_us = atomic_load(&metrics->beat_applied_us), lag_ms = atomic_load(&metrics->lag_ms);
    if (beat_us == 0 || lag_ms < 0)
        return -1;
    int64_t overdue_ms = (now_us - beat_us) / 1000 - cfg->source.heartbeat_ms;
    return overdue_ms > 0 && cfg->source.heartbeat_ms > 0 ? lag_ms + overdue_ms : lag_ms;
}

/* Of a table in work: its speed since it began, and the time left at that. */
static void table_speed(json_t *shown, const TableMetrics *table, int64_t now_us) {
    double passed_s = (double)(now_us - atomic_load(&table->began_us)) / 1e6, share = metrics_share(table);
    if ((TableStage)atomic_load(&table->stage) != TABLE_COPYING || passed_s <= 0)
        return;
    put(shown, "bytes_per_s", json_integer((int64_t)((double)atomic_load(&table->bytes) / passed_s)));
    if (share > 0)
        put(shown, "left_ms", json_integer((int64_t)(passed_s * (1 - share) / share * 1000)));
}

/* What is in force: "set" may have changed it. */
static json_t *throttle_json(const Throttle *of_load, const Throttle *of_apply) {
    json_t *load = json_object(), *apply = json_object(), *object = json_object();
    put(load, "queries_per_s", json_number(throttle_get(of_load, THROTTLE_QUERIES)));
    put(load, "rows_per_s", json_number(throttle_get(of_load, THROTTLE_ROWS)));
    put(load, "bytes_per_s", json_number(throttle_get(of_load, THROTTLE_BYTES)));
    put(apply, "rows_per_s", json_number(throttle_get(of_apply, THROTTLE_ROWS)));
    put(apply, "bytes_per_s", json_number(throttle_get(of_apply, THROTTLE_BYTES)));
    put(object, "load", load);
    put(object, "apply", apply);
    return object;
}

static void facts_numbers(Facts *facts, const Config *cfg, Metrics *m) {
    facts->phase = phase_name((Phase)atomic_load(&m->phase));
    facts->state = run_state_name((RunState)atomic_load(&m->state));
    facts->since_us = atomic_load(&m->since_us);
    facts->system_id = atomic_load(&m->system_id);
    facts->timeline = atomic_load(&m->timeline);
    facts->source = (Lsn){atomic_load(&m->source_lsn)};
    facts->applied = (Lsn){atomic_load(&m->applied_lsn)};
    facts->confirmed = (Lsn){atomic_load(&m->confirmed_lsn)};
    facts->restart = (Lsn){atomic_load(&m->restart_lsn)};
    facts->safe_bytes = known(atomic_load(&m->safe_wal_bytes));
    facts->retained_bytes = known(atomic_load(&m->retained_bytes));
    facts->lag_ms = known(status_lag_ms(cfg, m, clock_us()));
    facts->received_ms = known(atomic_load(&m->received_ms));
    facts->decoded_ms = known(atomic_load(&m->decoded_ms));
    facts->queued_ms = known(atomic_load(&m->queued_ms));
    facts->applied_ms = known(atomic_load(&m->applied_ms));
    facts->rows_copied = atomic_load(&m->rows_copied);
    facts->changes = atomic_load(&m->changes);
    facts->transactions = atomic_load(&m->transactions);
    facts->bytes = atomic_load(&m->bytes) + atomic_load(&m->bytes_copied);
    facts->conflicts = atomic_load(&m->conflicts);
    facts->dead_letters = atomic_load(&m->dead_letters);
    facts->left_out = atomic_load(&m->left_out);
    facts->retries = atomic_load(&m->retries);
    facts->early = atomic_load(&m->early);
    facts->early_given_up = atomic_load(&m->early_given_up);
    facts->rss_bytes = status_rss_bytes();
    facts->gear = gear_name((Gear)atomic_load(&m->gear));
    if (facts->gear != NULL)
        facts->workers = atomic_load(&m->gear) == GEAR_CATCH_UP ? atomic_load(&m->workers) : 1;
}

json_t *status_running(const Config *cfg, Metrics *metrics, const Throttle *load, const Throttle *apply) {
    Facts facts = facts_unknown();
    int64_t now_us = clock_us();
    facts_numbers(&facts, cfg, metrics);
    facts.throttle = throttle_json(load, apply);
    pthread_mutex_lock(&metrics->lock);
    facts.reason = metrics->reason;
    facts.error = metrics->error;
    facts.wal_status = metrics->wal_status;
    facts.audit_since = metrics->audit_since;
    memcpy(facts.audit_broken, metrics->audit_broken, sizeof facts.audit_broken);
    if (metrics->wal_status[0] == '\0') /* nobody has looked at the slot yet */
        facts.safe_bytes = facts.retained_bytes = UNKNOWN;
    for (int at = 0; at < metrics->table_count; at++) {
        TableMetrics *table = &metrics->tables[at];
        json_t *shown = table_json(table->name, table->target, (TableStage)atomic_load(&table->stage),
                                   atomic_load(&table->rows), known(atomic_load(&table->rows_estimated)),
                                   atomic_load(&table->bytes));
        table_speed(shown, table, now_us);
        put_metrics_changes(shown, table);
        json_array_append_new(facts.tables, shown);
    }
    for (int at = 0; at < metrics->build_count; at++)
        json_array_append_new(facts.builds, build_json(&metrics->builds[at]));
    json_t *object = facts_json(cfg, &facts);
    pthread_mutex_unlock(&metrics->lock);
    return object;
}

static void facts_tables(Facts *facts, const Config *cfg, const JobRecord *record, const TableRecords *tables,
                         Audit *audit) {
    bool streams = record->phase == PHASE_CATCHING_UP || record->phase == PHASE_RUNNING ||
                   record->phase == PHASE_CUTTING_OVER;
    facts->rows_copied = 0;
    Arena *arena = arena_new();
    Mapping *mapping = mapping_new(cfg);
    for (int at = 0; at < tables->count; at++) {
        const TableRecord *row = &tables->rows[at];
        char name[NAME_SIZE], target[NAME_SIZE];
        MappedName mapped = mapping_relation(mapping, arena, row->schema, row->name);
        snprintf(name, sizeof name, "%s.%s", row->schema, row->name);
        snprintf(target, sizeof target, "%s.%s", mapped.schema, mapped.name);
        TableStage stage = !row->loaded ? TABLE_PENDING : streams ? TABLE_STREAMING : TABLE_LOADED;
        json_t *shown = table_json(name, target, stage, row->loaded ? row->rows : 0, UNKNOWN,
                                   row->loaded ? row->bytes : 0);
        put_stored_changes(shown, &audit_table(audit, row->schema, row->name)->sums);
        json_array_append_new(facts->tables, shown);
        facts->rows_copied += row->loaded ? row->rows : 0;
    }
    mapping_free(mapping);
    arena_free(arena);
}

/* The record of an earlier version has no sums. */
static bool audit_facts(Pg *pg, const Config *cfg, Facts *facts, Audit *audit, Error *e) {
    bool ok = audit_load(audit, pg, cfg, facts->applied, e);
    if (!ok && strcmp(e->sqlstate, NO_TABLE) != 0 && strcmp(e->sqlstate, NO_COLUMN) != 0)
        return false;
    error_clear(e);
    facts->audit_since = ok ? audit->since : LSN_NONE;
    memcpy(facts->audit_broken, audit->broken, sizeof facts->audit_broken);
    return true;
}

static bool target_read(Pg *pg, const Config *cfg, Facts *facts, Error *e) {
    bool exists = false;
    JobRecord record = {.exists = false};
    TableRecords tables = {.count = 0};
    if (!state_exists(pg, cfg, &exists, e) || (exists && !state_read(pg, cfg, &record, e)))
        return false;
    facts->phase = phase_name(record.exists ? record.phase : PHASE_CHECKING);
    if (!record.exists)
        return true;
    facts->system_id = record.system_id;
    facts->timeline = record.timeline;
    facts->applied = record.applied;
    if (!dead_letter_count(pg, cfg, &facts->dead_letters, e) || !state_tables(pg, cfg, &tables, e))
        return false;
    Audit audit;
    audit_begin(&audit, &tables, NULL);
    bool ok = audit_facts(pg, cfg, facts, &audit, e);
    if (ok)
        facts_tables(facts, cfg, &record, &tables, &audit);
    audit_end(&audit);
    state_tables_free(&tables);
    return ok;
}

static bool target_facts(const Config *cfg, Facts *facts, Error *e) {
    PgAddress address = {.dsn = cfg->target.dsn, .side = "target", .job = cfg->name};
    Pg *pg = pg_open(&address, STATUS_CONNECT_MS, e);
    bool ok = pg != NULL && pg_run(pg, SQL_ONE_MOMENT, e) && target_read(pg, cfg, facts, e);
    pg_close(pg);
    return ok;
}

static bool source_read(Pg *pg, const Config *cfg, Facts *facts, SlotView *slot, Error *e) {
    char lsn[LSN_TEXT_SIZE];
    if (!pg_value(pg, SOURCE_LSN_SQL, 0, NULL, lsn, sizeof lsn, e))
        return false;
    lsn_parse(lsn, &facts->source);
    if (!cfg->phases.incremental)
        return true;
    if (!slot_look(pg, cfg->slot, slot, e))
        return false;
    if (!slot->exists)
        return true;
    facts->confirmed = slot->confirmed;
    facts->restart = slot->restart;
    facts->wal_status = slot->wal_status;
    facts->retained_bytes = known(slot->retained_bytes);
    facts->safe_bytes = known(slot->safe_bytes);
    return true;
}

static bool source_facts(const Config *cfg, Facts *facts, SlotView *slot, Error *e) {
    PgAddress address = {.dsn = cfg->source.dsn, .side = "source", .job = cfg->name};
    Pg *pg = pg_open(&address, STATUS_CONNECT_MS, e);
    bool ok = pg != NULL && source_read(pg, cfg, facts, slot, e);
    pg_close(pg);
    return ok;
}

json_t *status_stored(const Config *cfg, Error *e) {
    Facts facts = facts_unknown();
    SlotView slot = {.exists = false};
    Error target_error = {0}, source_error = {0};
    bool has_target = cfg->target.dsn != NULL, has_source = cfg->source.dsn != NULL;
    bool target_ok = has_target && target_facts(cfg, &facts, &target_error);
    bool source_ok = has_source && source_facts(cfg, &facts, &slot, &source_error);
    if (!target_ok && !source_ok) {
        json_decref(facts.tables);
        json_decref(facts.builds);
        *e = has_target ? target_error : source_error;
        if (!has_target && !has_source)
            fail(e, ERR_CONFIG, "no server was named");
        fail_context(e, "no run of job \"%s\" answers here, and its state cannot be read", cfg->name);
        return NULL;
    }
    char error[sizeof target_error.text + sizeof source_error.text + 2] = "";
    bool two = target_error.text[0] != '\0' && source_error.text[0] != '\0';
    snprintf(error, sizeof error, "%s%s%s", target_error.text, two ? "; " : "", source_error.text);
    facts.state = run_state_name(RUN_STOPPED);
    facts.error = error;
    return facts_json(cfg, &facts);
}

/* A line of /proc/self/status such as "VmRSS:   1234 kB". Unlike getrusage's peak, VmHWM does not begin with
 * what the parent process had before exec. */
static int64_t process_bytes(const char *key) {
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    int64_t kilobytes = 0;
    size_t length = strlen(key);
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, length) == 0)
            kilobytes = strtoll(line + length, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kilobytes * 1024;
}

int64_t status_rss_bytes(void) {
    return process_bytes("VmRSS:");
}
int64_t status_peak_rss_bytes(void) {
    return process_bytes("VmHWM:");
}
