#include "job/birth_source.h"

#include <stdio.h>

#include "core/fault.h"
#include "core/log.h"
#include "decoder/ddl_trigger.h"
#include "decoder/heartbeat.h"
#include "decoder/publication.h"

static const char SQL_SYSTEM_ID[] = "SELECT system_identifier FROM pg_catalog.pg_control_system()";

enum { DROP_WAIT_MS = 10000, IDENTITY_WAIT_MS = 60000 };

bool birth_source_identify(Walk *walk, ServerIdentity *out, Error *e) {
    *out = (ServerIdentity){.timeline = 0};
    if (walk->job->cfg->phases.incremental) {
        Pg *walsender = walk_walsender(walk, e);
        bool ok = walsender != NULL && slot_identify(walsender, out, e);
        pg_close(walsender);
        return ok;
    }
    Error refused; /* not every account may ask, and a job without a stream does not depend on it */
    char text[24];
    if (pg_value(walk->source, SQL_SYSTEM_ID, 0, NULL, text, sizeof text, &refused))
        sscanf(text, "%lu", &out->system_id);
    return true;
}

/* A slot of our name is ours only if the record says so: else it is somebody's position (design "The slot's
 * birth"). */
bool birth_source_slot_clear(Walk *walk, bool intended, Error *e) {
    const Config *cfg = walk->job->cfg;
    SlotView slot;
    if (!slot_look(walk->source, cfg->slot, &slot, e))
        return false;
    if (!slot.exists)
        return true;
    if (!intended) {
        fail(e, ERR_LOST, "slot \"%s\" exists on the source, but the target knows no job \"%s\"", cfg->slot,
             cfg->name);
        return fail_hint(
            e, "it may belong to a job with another target: choose another name, or run walferry cleanup "
               "if the slot is a left-over");
    }
    return FAULT("slot.before_drop", e) && exported_holder_end(walk, cfg->slot, e) &&
           slot_drop(walk->source, cfg->slot, DROP_WAIT_MS, e);
}

/* Tables without identity, as `identity` says; noted at the destination before it is done, so that cleanup
 * can undo it. */
static bool identities_set(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    if (cfg->identity == IDENTITY_FAIL)
        return true;
    for (int number = 0; number < walk->selection->count; number++) {
        Table *table = &walk->selection->tables[number];
        if (table->identity != TABLE_IDENTITY_NONE || table->unlogged)
            continue;
        if (cfg->identity == IDENTITY_INSERT_ONLY && table->identity_candidate == NULL)
            continue; /* published for INSERT and TRUNCATE only */
        if (!state_identity_note(walk->record, cfg, table, e) ||
            !publication_set_identity(walk->source, table, IDENTITY_WAIT_MS, e))
            return false;
        table->identity = table->identity_candidate != NULL ? TABLE_IDENTITY_KEY : TABLE_IDENTITY_FULL;
        table->insert_only = false;
        log_info("table \"%s\": replica identity set to %s", table->full_name,
                 table->identity_candidate != NULL ? table->identity_candidate : "full");
    }
    return true;
}

bool birth_source_publish(Walk *walk, Error *e) {
    return identities_set(walk, e) && publication_make(walk->source, walk->job->cfg, walk->selection, e);
}

bool birth_source_prepare(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    HeartbeatForm form;
    return (cfg->source.heartbeat_ms == 0 || heartbeat_make(walk->source, cfg, &form, e)) &&
           birth_source_publish(walk, e) &&
           (cfg->ddl != DDL_APPLY || ddl_trigger_make(walk->source, cfg, e)) && FAULT("ddl.after_trigger", e);
}

/* Before 18 a synchronized slot does not know from where on it is two-phase: after a failover it would leave out
 * prepared transactions, or send them twice (why late minors of 17 refuse the pair). */
static SlotKind lasting_kind(const Walk *walk) {
    if (!walk->job->cfg->source.two_phase || walk->source->version < 170000 ||
        walk->source->version >= 180000)
        return SLOT_LASTING;
    log_warn("two_phase: slot \"%s\" is made without FAILOVER, because a server before 18 cannot keep both",
             walk->job->cfg->slot);
    return SLOT_LASTING_HERE;
}

bool birth_source_slot(Walk *walk, Exported *out, Error *e) {
    *out = (Exported){0};
    if (!birth_source_prepare(walk, e) ||
        !exported_by_slot(walk, walk->job->cfg->slot, lasting_kind(walk), EXPORTED_WAIT_MS, out, e))
        return false;
    log_info("slot \"%s\" made, consistent point " LSN_FMT, walk->job->cfg->slot, LSN_ARGS(out->point));
    return FAULT("snapshot.after_slot", e);
}
