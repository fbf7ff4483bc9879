#include "job/build.h"

#include <stdio.h>
#include <string.h>

#include "core/fault.h"
#include "core/log.h"
#include "snapshot/choice.h"
#include "snapshot/existing.h"
#include "snapshot/large_object.h"
#include "snapshot/load.h"
#include "snapshot/rename.h"
#include "snapshot/role.h"
#include "snapshot/sequence.h"
#include "snapshot/session.h"
#include "snapshot/still.h"

/* Foreign keys and triggers of rows that arrive by the stream must not fire (trap C7). */
static const char SQL_MAY_REPLICA[] = "BEGIN; SET LOCAL session_replication_role = replica; COMMIT";

static const char SQL_PUBLIC_IS_OURS[] =
    "SELECT pg_catalog.pg_has_role(nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'public'";

static const char SQL_LOOK[] = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

enum { ROUNDS_MAX = 10 };

static Load load_of(const Walk *walk) {
    return (Load){.cfg = walk->job->cfg,
                  .selection = walk->selection,
                  .metrics = walk->job->metrics,
                  .throttle = walk->job->throttle,
                  .again = walk->again,
                  .stop = &walk->job->stop};
}

/* pg_dump locks every table that it is not told to leave alone, and words for a missing right cannot be told from those
 * for a lock not had in time: the server's come in any language. */
static bool all_readable(const PGresult *unreadable, const Choice *choice, Error *e) {
    uint32_t relations = choice_relations(choice);
    for (int row = 0; row < PQntuples(unreadable); row++) {
        if (choice_leaves_out(choice, relations, (uint32_t)pg_cell_int(unreadable, row, UNREADABLE_OID)))
            continue;
        fail(e, ERR_CONFIG, "source: permission denied for table \"%s\"",
             pg_cell(unreadable, row, UNREADABLE_SHOWN));
        return fail_hint(e, "the user of source.dsn needs SELECT on it, and USAGE on its schema");
    }
    return true;
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

/* What the job found at the target is in its record; the rest of what is there is asked for. */
static bool existing_find(const Walk *walk, PGresult **relations, PGresult **objects, Error *e) {
    const Config *cfg = walk->job->cfg;
    bool fails = cfg->existing == EXISTING_FAIL;
    *relations = fails ? NULL : state_existing(walk->record, cfg, e);
    *objects = fails || *relations != NULL ? existing_objects(walk->source, walk->record, cfg, e) : NULL;
    return *objects != NULL;
}

/* A definition that the target refused: perhaps it could not know it. */
static bool schema_failed(const Walk *walk, const char *doing, Error *e) {
    int source = walk->source->version / 10000, target = walk->record->version / 10000;
    fail_context(e, "%s", doing);
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

static bool names_change(Walk *walk, const DumpParts *parts, const PGresult *relations_there, Dump *dump,
                         Error *e) {
    Renaming renaming = {.cfg = walk->job->cfg,
                         .mapping = walk->selection->mapping,
                         .parts = parts,
                         .relations_there = relations_there,
                         .source = walk->source,
                         .target = walk->record,
                         .stop = &walk->job->stop};
    metrics_activity(walk->job->metrics, "renaming the definitions");
    return rename_dump(&renaming, dump, e) ||
           schema_failed(walk, "giving the definitions their new names", e);
}

/* What goes although the job took it; rows without a table are a mistake of the job. */
static bool losses_tell(const Choice *choice, Error *e) {
    const ChoiceLoss *losses;
    int count = choice_losses(choice, &losses);
    for (int at = 0; at < count; at++) {
        if (losses[at].is_table) {
            fail(e, ERR_CONFIG, "%s is taken, but not %s, which it needs", losses[at].what,
                 losses[at].because);
            return fail_hint(e, "take both or none: objects.include and objects.exclude");
        }
        log_warn("left out: %s, because %s is", losses[at].what, losses[at].because);
    }
    return true;
}

/* As the snapshot shows it. Without one the definitions before the rows are made already, and tables that have come to
 * the source since have no place at the target, unless it is they that are `joining`. */
static bool choice_read(Walk *walk, const char *snapshot, bool joining, Choice **out, Error *e) {
    Error ignored;
    bool all = snapshot != NULL || joining;
    *out = NULL;
    if (all && !choice_needed(walk->job->cfg))
        return true;
    PGresult *there = all ? NULL : existing_relations(walk->record, e);
    if (snapshot != NULL ? session_import(walk->source, snapshot, e)
                         : (joining || there != NULL) && pg_run(walk->source, SQL_LOOK, e))
        *out = choice_make(walk->source, walk->job->cfg, walk->selection->mapping, there, e);
    bool ok = *out != NULL && losses_tell(*out, e);
    pg_run(walk->source, "ROLLBACK", &ignored);
    PQclear(there);
    return ok;
}

static bool chosen_take(Walk *walk, const char *snapshot, DumpParts *parts, Dump *out, Error *e) {
    DumpTool tool;
    const Config *cfg = walk->job->cfg;
    DumpFrom from = {cfg->source.dsn, snapshot};
    PGresult *unreadable = dump_unreadable(walk->source, e);
    parts->unreadable = unreadable;
    bool ok = unreadable != NULL && all_readable(unreadable, parts->choice, e) &&
              dump_choose(cfg, walk->source->version, walk->record->version, &tool, e) &&
              dump_take(&tool, cfg, parts, &from, &walk->job->stop, out, e);
    PQclear(unreadable);
    return ok;
}

/* Definitions that get other names are made once with everything that they need, be it there already or not. */
static bool dump_read(Walk *walk, const char *snapshot, bool joining, const PGresult *relations,
                      const PGresult *objects, Dump *out, Error *e) {
    DumpParts parts;
    Choice *choice = NULL;
    bool renames = mapping_renames(walk->selection->mapping);
    if (!parts_choose(walk, &parts, e) || !choice_read(walk, snapshot, joining, &choice, e))
        return false;
    DumpParts first = parts;
    first.choice = choice;
    first.relations_there = renames ? NULL : relations;
    first.objects_there = renames ? NULL : objects;
    bool ok = chosen_take(walk, snapshot, &first, out, e);
    choice_free(choice);
    return ok && (!renames || names_change(walk, &parts, relations, out, e));
}

bool build_dump(Walk *walk, const char *snapshot, Dump *out, Error *e) {
    PGresult *relations, *objects;
    metrics_activity(walk->job->metrics, "reading the definitions");
    bool ok = existing_find(walk, &relations, &objects, e) &&
              dump_read(walk, snapshot, false, relations, objects, out, e);
    PQclear(relations);
    PQclear(objects);
    metrics_activity(walk->job->metrics, "%s", "");
    return ok;
}

bool build_dump_beside(Walk *walk, const PGresult *others, Dump *out, Error *e) {
    Config there = *walk->job->cfg;
    there.existing = EXISTING_KEEP; /* whatever the target has stays as it is */
    PGresult *objects = existing_objects(walk->source, walk->record, &there, e);
    bool ok = objects != NULL && dump_read(walk, NULL, true, others, objects, out, e);
    PQclear(objects);
    return ok;
}

bool build_definitions(const Walk *walk, const Dump *dump, Error *e) {
    const Config *cfg = walk->job->cfg;
    return (!cfg->schema.roles || role_carry(walk->source, walk->record, cfg, e)) &&
           (session_run(walk->record, dump->pre_data, &walk->job->stop, e) ||
            schema_failed(walk, "making the schema at the target", e));
}

/* Triggers of tables that were there must not act on the load either. */
static bool existing_quiet(const Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    return cfg->existing == EXISTING_FAIL || !cfg->phases.incremental ||
           still_keep(walk->record, walk->selection, e);
}

/* All definitions that come before the rows, in one transaction with the record that they are made: a killed
 * run leaves all of them or none. */
bool build_schema(Walk *walk, const Exported *exported, Dump *dump, Error *e) {
    const Config *cfg = walk->job->cfg;
    Error ignored;
    if (!pg_run(walk->record, "BEGIN; SET LOCAL lock_timeout = '10s'", e))
        return false;
    bool ok = existing_settle(walk->source, walk->record, cfg, walk->selection, e) &&
              (!cfg->phases.schema ||
               (build_dump(walk, exported->snapshot, dump, e) && build_definitions(walk, dump, e))) &&
              existing_quiet(walk, e);
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
    PGresult *existing = state_existing(walk->record, walk->job->cfg, e);
    if (existing == NULL)
        return false;
    load.existing = existing;
    int left = 0, loaded_before = loaded_tables(walk);
    bool ok = load_tables(&load, records, exported->snapshot, exported->point, &left, e);
    PQclear(existing);
    walk->progressed = walk->progressed || loaded_tables(walk) > loaded_before;
    if (ok && left > 0)
        log_info("%d tables are left: loading them again under a new snapshot", left);
    return ok && (left > 0 || walk->again || large_object_copy(&load, exported->snapshot, e));
}

bool build_load_is_complete(const Walk *walk, bool *complete, Error *e) {
    TableRecords records;
    if (!large_object_copied(walk->record, walk->job->cfg, complete, e) ||
        !state_tables(walk->record, walk->job->cfg, &records, e))
        return false;
    *complete = *complete && records.all_loaded;
    state_tables_free(&records);
    return true;
}

/* One round, or the finding that nothing is left to load. */
static bool load_round(Walk *walk, Exported *exported, bool *complete, Error *e) {
    TableRecords records;
    if (!build_load_is_complete(walk, complete, e) || *complete)
        return *complete;
    if ((exported->exporter == NULL && !exported_for_load(walk, exported, e)) ||
        !state_tables(walk->record, walk->job->cfg, &records, e))
        return false;
    bool ok = rows_load(walk, &records, exported, e);
    state_tables_free(&records);
    return ok;
}

/* Round after round: the first under the job's own snapshot, each further one, for tables whose rows that
 * snapshot does not show any more (trap A10) or that a killed run left unfinished, under a new one of a
 * temporary slot (A2), or for all tables, if there is no stream that would bring them together. */
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

/* A table that was there may do without the sequence that the source's has. */
static bool sequences_carry(Walk *walk, int *count, Error *e) {
    PGresult *existing = state_existing(walk->record, walk->job->cfg, e);
    bool ok =
        existing != NULL && sequence_carry(walk->source, walk->record, walk->selection, existing, count, e);
    PQclear(existing);
    return ok;
}

/* Foreign keys, triggers, policies … */
static bool rest_make(Walk *walk, const Load *load, Dump *dump, Error *e) {
    unsigned kinds = 1u << DUMP_OTHER;
    if (triggers_can_be_kept_still(walk))
        kinds |= 1u << DUMP_FOREIGN_KEY | 1u << DUMP_TRIGGER;
    return load_entries(load, dump, kinds, e) &&
           ((kinds & 1u << DUMP_FOREIGN_KEY) == 0 || load_validate(load, walk->source, dump, e));
}

bool build_rest_beside(Walk *walk, Dump *dump, Error *e) {
    Load load = load_of(walk);
    int sequences = 0;
    return rest_make(walk, &load, dump, e) && still_keep(walk->record, walk->selection, e) &&
           sequences_carry(walk, &sequences, e);
}

bool build_rest(Walk *walk, Dump *dump, Error *e) {
    Load load = load_of(walk);
    int sequences = 0;
    if (!rest_make(walk, &load, dump, e) || !load_analyze(&load, e) ||
        !load_refresh(&load, walk->source, walk->record, e) ||
        (walk->job->cfg->phases.incremental && !still_keep(walk->record, walk->selection, e)) ||
        !load_entries(&load, dump, 1u << DUMP_LAST, e) || !sequences_carry(walk, &sequences, e))
        return false;
    log_info("%d sequences carried over", sequences);
    return FAULT("snapshot.before_handover", e);
}
