#include <stdlib.h>
#include <string.h>

#include "core/fault.h"
#include "core/sqlstate.h"
#include "snapshot/foreign_key.h"
#include "snapshot/load_intern.h"
#include "snapshot/session.h"

enum { TRIES = 10, WHAT_MAX_BYTES = 4096 };

static const char SQL_IS_PARTITIONED[] =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c"
    " WHERE c.oid = pg_catalog.to_regclass($1)::oid AND c.relkind = 'p')";

Pg *load_entry_open(const Load *load, const char *preamble, Error *e) {
    Pg *target = load_target_open(load, e);
    if (target == NULL || pg_run(target, preamble, e))
        return target;
    pg_close(target);
    return NULL;
}

static bool statement_try(const Load *load, Pg *target, const LoadStatement *statement,
                          const atomic_bool *halt, Error *e) {
    bool ok = pg_run(target, "BEGIN", e) && pg_run(target, statement->settings, e) &&
              session_run(target, statement->sql, halt, e) &&
              state_object_note(target, load->cfg, statement->hash, statement->what, e) &&
              pg_run(target, "COMMIT", e);
    if (!ok)
        session_leave(target);
    return ok;
}

/* Two that work on one table may each wait for the other; whoever is chosen to lose comes again. */
bool load_entry_make(const Load *load, Pg *target, const LoadStatement *statement, const atomic_bool *halt,
                     Error *e) {
    bool made = false, ok = false;
    if (!state_object_made(target, load->cfg, statement->hash, &made, e) || made)
        return made;
    metrics_activity(load->metrics, "making %s", statement->what);
    metrics_build_begin(load->metrics, target->backend_pid, statement->what);
    for (int tries = 1; !ok && tries <= TRIES; tries++) {
        ok = statement_try(load, target, statement, halt, e);
        if (!ok && !sqlstate_is(e, SQLSTATE_DEADLOCK_DETECTED))
            break;
    }
    metrics_build_end(load->metrics, target->backend_pid);
    return ok || e->kind == ERR_STOPPED ? ok : fail_context(e, "%s", statement->what);
}

static bool key_make(const Load *load, Pg *target, LoadStatement *statement, Error *e) {
    ForeignKey key;
    char whole[8] = "t";
    bool ok = true;
    if (foreign_key_split(statement->sql, &key)) {
        const char *const params[] = {writer_string(&key.referenced)};
        ok = pg_value(target, SQL_IS_PARTITIONED, 1, params, whole, sizeof whole, e);
    }
    if (ok && strcmp(whole, "f") == 0)
        statement->sql = writer_string(&key.make);
    ok = ok && load_entry_make(load, target, statement, load->stop, e);
    foreign_key_free(&key);
    return ok;
}

static bool entry_make(const Load *load, Pg *target, const DumpEntry *entry, Error *e) {
    Writer what = writer_new(WHAT_MAX_BYTES);
    writer_format(&what, "%s %s.%s", entry->type, entry->schema, entry->name);
    LoadStatement statement = {entry->sql, entry->hash, writer_string(&what), ""};
    bool ok = entry->kind == DUMP_FOREIGN_KEY ? key_make(load, target, &statement, e)
                                              : load_entry_make(load, target, &statement, load->stop, e);
    writer_free(&what);
    return ok;
}

static int wanted_count(const Dump *dump, unsigned kinds) {
    int count = 0;
    for (int at = 0; at < dump->entry_count; at++)
        count += (kinds & 1u << dump->entries[at].kind) != 0 ? 1 : 0;
    return count;
}

bool load_entries(const Load *load, const Dump *dump, unsigned kinds, Error *e) {
    int count = wanted_count(dump, kinds);
    atomic_store(&load->metrics->post_data_done, 0);
    atomic_store(&load->metrics->post_data_total, count);
    if (count == 0)
        return true;
    Pg *target = load_entry_open(load, dump->preamble, e);
    bool ok = target != NULL;
    for (int at = 0; ok && at < dump->entry_count; at++) {
        if ((kinds & 1u << dump->entries[at].kind) == 0)
            continue;
        ok = entry_make(load, target, &dump->entries[at], e);
        atomic_fetch_add(&load->metrics->post_data_done, ok ? 1 : 0);
    }
    pg_close(target);
    return ok;
}
