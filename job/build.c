#include <stdio.h>
#include <string.h>

#include "core/fault.h"
#include "core/log.h"
#include "job/phases.h"
#include "snapshot/large_object.h"
#include "snapshot/load.h"
#include "snapshot/role.h"
#include "snapshot/sequence.h"
#include "snapshot/session.h"
#include "snapshot/still.h"

/* Foreign keys and triggers of rows that arrive by the stream must not fire (trap C7). */
static const char SQL_MAY_REPLICA[] = "BEGIN; SET LOCAL session_replication_role = replica; COMMIT";

static const char SQL_PUBLIC_IS_OURS[] =
    "SELECT pg_catalog.pg_has_role(nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'public'";

enum { ROUNDS_MAX = 10 };

static Load load_of(const Walk *walk) {
    return (Load){walk->job->cfg, walk->selection, walk->job->metrics, &walk->job->stop};
}

/* pg_dump locks every table, and words for a missing right cannot be told from those for a lock not had in time: the
 * server's come in any language. */
static bool all_readable(const Walk *walk, Error *e) {
    PGresult *unreadable = dump_unreadable(walk->source, e);
    bool ok = unreadable != NULL && PQntuples(unreadable) == 0;
    if (unreadable != NULL && !ok) {
        fail(e, ERR_CONFIG, "source: permission denied for table \"%s\"", pg_cell(unreadable, 0, 0));
        fail_hint(e, "the user of source.dsn needs SELECT on it, and USAGE on its schema");
    }
    PQclear(unreadable);
    return ok;
}

/* Before 15 the schema `public` belongs to a superuser: then it stays as the target has it. */
static bool parts_choose(const Walk *walk, DumpParts *out, Error *e) {
    const Config *cfg = walk->job->cfg;
    PGresult *ours = pg_query(walk->record, SQL_PUBLIC_IS_OURS, 0, NULL, e);
    *out = (DumpParts){.owners = cfg->load.owners == OWNERS_KEEP,
                       .privileges = cfg->load.privileges,
                       .event_triggers = cfg->schema.event_triggers,
                       .public_schema = ours != NULL && PQntuples(ours) > 0 && pg_cell_bool(ours, 0, 0)};
    PQclear(ours);
    return ours != NULL;
}

bool build_dump(Walk *walk, const char *snapshot, Dump *out, Error *e) {
    DumpTool tool;
    DumpParts parts;
    const Config *cfg = walk->job->cfg;
    if (!all_readable(walk, e))
        return false;
    metrics_activity(walk->job->metrics, "reading the definitions");
    bool ok = dump_choose(cfg, walk->source->version, walk->record->version, &tool, e) &&
              parts_choose(walk, &parts, e) &&
              dump_take(&tool, cfg, &parts, snapshot, &walk->job->stop, out, e);
    metrics_activity(walk->job->metrics, "%s", "");
    return ok;
}

/* A definition that the target refused: perhaps it could not know it. */
static bool schema_failed(const Walk *walk, Error *e) {
    int source = walk->source->version / 10000, target = walk->record->version / 10000;
    fail_context(e, "making the schema at the target");
    if (strstr(e->hint, "max_locks_per_transaction") != NULL) {
        e->kind = ERR_CONFIG; /* of the kind that passes by itself, but not this one */
        return fail_hint(
            e, "everything is made in one transaction: raise max_locks_per_transaction at the target and "
               "restart it; walferry check says how far");
    }
    if (e->kind != ERR_CONFIG || e->connection || target >= source)
        return false;
    return fail_hint(
        e,
        "the target is PostgreSQL %d, older than the source (%d), and may not know this: make the schema "
        "there yourself, in words that %d knows, and take \"schema\" out of phases",
        target, source, target);
}

static bool definitions_make(const Walk *walk, const Dump *dump, Error *e) {
    const Config *cfg = walk->job->cfg;
    return (!cfg->schema.roles || role_carry(walk->source, walk->record, cfg, e)) &&
           (session_run(walk->record, dump->pre_data, &walk->job->stop, e) || schema_failed(walk, e));
}

/* All definitions that come before the rows, in one transaction with the record that they are made: a killed
 * run leaves all of them or none. */
bool build_schema(Walk *walk, const Exported *exported, Dump *dump, Error *e) {
    const Config *cfg = walk->job->cfg;
    Error ignored;
    if (cfg->phases.schema && !build_dump(walk, exported->snapshot, dump, e))
        return false;
    if (!pg_run(walk->record, "BEGIN; SET LOCAL lock_timeout = '10s'", e))
        return false;
    bool ok = !cfg->phases.schema || definitions_make(walk, dump, e);
    if (ok && state_schema_made(walk->record, cfg, e) &&
        pg_run(walk->record, "SET LOCAL synchronous_commit = on; COMMIT", e)) {
        log_info("schema made at the target");
        return true;
    }
    pg_run(walk->record, "ROLLBACK", &ignored);
    return false;
}

static int loaded_tables(const Walk *walk) {
    const Metrics *m = walk->job->metrics;
    int loaded = 0;
    for (int table = 0; table < m->table_count; table++)
        loaded += atomic_load(&m->tables[table].stage) == TABLE_LOADED ? 1 : 0;
    return loaded;
}

/* Large objects last: their numbers in the rows are of the same snapshot or of an older one. */
static bool rows_load(Walk *walk, const TableRecords *records, const Exported *exported, Error *e) {
    Load load = load_of(walk);
    int left = 0, loaded_before = loaded_tables(walk);
    bool ok = load_tables(&load, records, exported->snapshot, exported->point, &left, e);
    walk->progressed = walk->progressed || loaded_tables(walk) > loaded_before;
    if (ok && left > 0)
        log_info("%d tables are left: loading them again under a new snapshot", left);
    return ok && (left > 0 || large_object_copy(&load, exported->snapshot, e));
}

/* One round, or the finding that nothing is left to load. */
static bool load_round(Walk *walk, Exported *exported, bool *complete, Error *e) {
    TableRecords records;
    if (!large_object_copied(walk->record, walk->job->cfg, complete, e) ||
        !state_tables(walk->record, walk->job->cfg, &records, e))
        return false;
    *complete = *complete && records.all_loaded;
    bool ok = *complete || ((exported->exporter != NULL || birth_of_load_snapshot(walk, exported, e)) &&
                            rows_load(walk, &records, exported, e));
    state_tables_free(&records);
    return ok;
}

/* Round after round: the first under the job's own snapshot, each further one, for tables whose rows that
 * snapshot does not show any more (trap A10) or that a killed run left unfinished, under a new one of a
 * temporary slot (A2). */
bool build_load(Walk *walk, Exported *first, Error *e) {
    Exported exported = *first;
    *first = (Exported){0};
    for (int round = 0; round <= ROUNDS_MAX; round++) {
        bool complete = false;
        bool ok = load_round(walk, &exported, &complete, e);
        exported_end(&exported);
        if (!ok || complete)
            return ok;
    }
    return fail(e, ERR_RETRY,
                "tables are locked or rewritten on the source again and again while they are loaded");
}

/* Vacuums and indexes side by side, but those behind a view or function that stands on a key only when that is made.
 * Without a dump the vacuums alone. */
bool build_indexes(Walk *walk, Dump *dump, Error *e) {
    Load load = load_of(walk);
    bool ok = true;
    int from = 0, to = 0;
    do {
        while (to < dump->entry_count && dump->entries[to].kind != DUMP_DEFINITION)
            to++;
        while (to < dump->entry_count && dump->entries[to].kind == DUMP_DEFINITION)
            to++;
        Dump part = {.preamble = dump->preamble, .entries = dump->entries + from, .entry_count = to - from};
        int done_before = atomic_load(&walk->job->metrics->post_data_done);
        ok = load_indexes(&load, walk->source, &part, e) &&
             load_entries(&load, &part, 1u << DUMP_DEFINITION, e);
        walk->progressed = walk->progressed || atomic_load(&walk->job->metrics->post_data_done) > done_before;
        from = to;
    } while (ok && from < dump->entry_count);
    return ok;
}

/* Whether applied rows can be kept from firing triggers and foreign keys; without that they are left out
 * until the cutover, because a cascade at the destination would delete what the stream deletes next. */
static bool triggers_can_be_kept_still(Walk *walk) {
    Error refused;
    if (!walk->job->cfg->phases.incremental || pg_run(walk->record, SQL_MAY_REPLICA, &refused))
        return true;
    pg_run(walk->record, "ROLLBACK", &refused);
    log_warn("foreign keys, triggers and rules are left out at the target until the cutover: the account may "
             "not set "
             "session_replication_role");
    return false;
}

bool build_rest(Walk *walk, Dump *dump, Error *e) {
    Load load = load_of(walk);
    unsigned kinds = 1u << DUMP_OTHER;
    int sequences = 0;
    if (triggers_can_be_kept_still(walk))
        kinds |= 1u << DUMP_FOREIGN_KEY | 1u << DUMP_TRIGGER;
    if (!load_entries(&load, dump, kinds, e) ||
        ((kinds & 1u << DUMP_FOREIGN_KEY) != 0 && !load_validate(&load, walk->source, dump, e)) ||
        !load_analyze(&load, e) || !load_refresh(&load, walk->source, walk->record, e) ||
        (walk->job->cfg->phases.incremental && !still_keep(walk->record, walk->selection, e)) ||
        !load_entries(&load, dump, 1u << DUMP_LAST, e) ||
        !sequence_carry(walk->source, walk->record, walk->selection, &sequences, e))
        return false;
    log_info("%d sequences carried over", sequences);
    return FAULT("snapshot.before_handover", e);
}
