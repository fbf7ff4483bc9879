#include "job/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/memory.h"
#include "core/pg.h"
#include "core/state.h"
#include "decoder/ddl_trigger.h"
#include "decoder/heartbeat.h"
#include "decoder/publication.h"
#include "decoder/slot.h"
#include "job/control.h"
#include "sink/kafka/control_topic.h"
#include "sink/postgres/apply_prepared.h"
#include "snapshot/scratch.h"

static const char PUBLICATIONS_SQL[] =
    "SELECT pubname FROM pg_publication WHERE pubname IN ($1, $2) ORDER BY 1";
static const char BEATS_SQL[] = "SELECT count(*) FILTER (WHERE job = $1), count(*) FROM ";
static const char OTHER_JOBS_SQL[] = "SELECT count(*) FROM @.job WHERE job <> $1";

/* What a killed run leaves behind on the servers ends by itself within this time. */
enum { LEFTOVER_MS = 5000, LOOK_MS = 200, IDENTITY_WAIT_MS = 30000, TEXT_SIZE = 600 };

typedef struct Identity {
    char *schema, *name;
    char setting;
} Identity;

typedef struct Cleanup {
    const Config *cfg;
    bool dry_run;
    void (*say)(void *context, const char *what);
    void *context;
    Pg *source, *target; /* NULL: not reached, or the job has none */
    bool state_schema;   /* exists at the target */
    JobRecord record;
    int identity_count;
    Identity *identities;
    Error first; /* what went wrong first; the rest goes on */
} Cleanup;

/* Remembers the first failure; returns `ok`. */
static bool noted(Cleanup *c, bool ok, const Error *e) {
    if (!ok && c->first.kind == ERR_NONE)
        c->first = *e;
    return ok;
}

__attribute__((format(printf, 2, 3))) static void tell(Cleanup *c, const char *format, ...) {
    char text[TEXT_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->say(c->context, text);
}

/* ---- a job that is running stays as it is ---- */

static bool is_running(Error *e, const Config *cfg, const char *who) {
    fail(e, ERR_CONFIG, "job \"%s\" is running: %s", cfg->name, who);
    return fail_hint(e, "end it with \"walferry stop\", then clean up");
}

static bool nobody_answers(const Config *cfg, Error *e) {
    json_t *request = json_pack("{s:s}", "command", "who");
    json_t *answer = control_ask(cfg, request, e);
    json_decref(request);
    if (answer == NULL)
        return e->kind == ERR_NONE;
    const char *instance = json_string_value(json_object_get(answer, "instance"));
    is_running(e, cfg, instance != NULL ? instance : "a process listens on its control socket");
    json_decref(answer);
    return false;
}

/* On another machine there is no socket to ask, but its walsender holds the slot. */
static bool slot_is_free(Cleanup *c, const char *name, Error *e) {
    int64_t deadline_ms = clock_ms() + LEFTOVER_MS;
    for (;;) {
        SlotView slot;
        char who[TEXT_SIZE];
        if (!slot_look(c->source, name, &slot, e))
            return false;
        if (!slot.exists || !slot.active)
            return true;
        if (clock_ms() >= deadline_ms) {
            snprintf(who, sizeof who, "slot \"%s\" is in use by PID %lld of the source%s%s%s", name,
                     (long long)slot.active_pid, c->record.exists ? " (" : "",
                     c->record.exists ? c->record.instance : "", c->record.exists ? ")" : "");
            return is_running(e, c->cfg, who);
        }
        clock_sleep_ms(LOOK_MS);
    }
}

static bool nobody_works(Cleanup *c, Error *e) {
    if (c->source != NULL && (!slot_is_free(c, c->cfg->slot, e) || !slot_is_free(c, c->cfg->load_slot, e)))
        return false;
    return c->target == NULL || !c->state_schema || state_take(c->target, c->cfg, LEFTOVER_MS, false, e);
}

/* ---- what there is ---- */

static bool identity_keep(void *context, const char *schema, const char *name, char setting, Error *e) {
    Cleanup *c = context;
    (void)e;
    c->identities = memory_grow(c->identities, ((size_t)c->identity_count + 1) * sizeof *c->identities);
    c->identities[c->identity_count++] = (Identity){memory_text(schema), memory_text(name), setting};
    return true;
}

static bool target_read(Cleanup *c, Error *e) {
    return state_exists(c->target, c->cfg, &c->state_schema, e) &&
           (!c->state_schema || (state_read(c->target, c->cfg, &c->record, e) &&
                                 state_identities(c->target, c->cfg, identity_keep, c, e)));
}

static Pg *side_open(Cleanup *c, const char *dsn, const char *side, int64_t wait_ms) {
    Error e = {0};
    if (dsn == NULL)
        return NULL;
    PgAddress to = {.dsn = dsn, .side = side, .job = c->cfg->name};
    Pg *pg = pg_open_wait(&to, wait_ms, &e);
    noted(c, pg != NULL, &e);
    return pg;
}

static void open_both(Cleanup *c, int64_t wait_ms) {
    Error e = {0};
    c->source = side_open(c, c->cfg->source.dsn, "source", wait_ms);
    c->target = side_open(c, c->cfg->target.dsn, "target", wait_ms);
    if (c->target != NULL && !noted(c, target_read(c, &e), &e)) {
        pg_close(c->target);
        c->target = NULL;
    }
}

/* ---- the source's side; each true when nothing is left ---- */

static bool slot_remove(Cleanup *c, const char *name, Error *e) {
    SlotView slot;
    if (!slot_look(c->source, name, &slot, e))
        return false;
    if (!slot.exists)
        return true;
    if (!c->dry_run && (!FAULT("slot.before_drop", e) || !slot_drop(c->source, name, LEFTOVER_MS, e)))
        return false;
    tell(c, "slot %s on the source", name);
    return true;
}

static bool publications_remove(Cleanup *c, Error *e) {
    const Config *cfg = c->cfg;
    const char *const ours[] = {cfg->slot, cfg->insert_publication};
    bool named = strcmp(cfg->source.publication, cfg->slot) != 0; /* the user's stays */
    PGresult *rows = pg_query(c->source, PUBLICATIONS_SQL, 2, ours, e);
    if (rows == NULL)
        return false;
    bool ok = c->dry_run || PQntuples(rows) == 0 || publication_drop(c->source, cfg, e);
    for (int row = 0; ok && row < PQntuples(rows); row++)
        if (!named || strcmp(pg_cell(rows, row, 0), cfg->slot) != 0)
            tell(c, "publication %s on the source", pg_cell(rows, row, 0));
    PQclear(rows);
    return ok;
}

static bool heartbeat_remove(Cleanup *c, Error *e) {
    const Config *cfg = c->cfg;
    uint32_t oid;
    if (!heartbeat_table(c->source, cfg, &oid, e))
        return false;
    if (oid == 0)
        return true;
    Writer sql = writer_new(1 << 12);
    writer_text(&sql, BEATS_SQL);
    pg_write_table(&sql, c->source, cfg->source.heartbeat_schema, cfg->source.heartbeat_table);
    const char *const params[] = {cfg->name};
    PGresult *rows = pg_query(c->source, writer_string(&sql), 1, params, e);
    writer_free(&sql);
    if (rows == NULL)
        return false;
    int64_t ours = pg_cell_int(rows, 0, 0), all = pg_cell_int(rows, 0, 1);
    PQclear(rows);
    if (all > 0 && ours == 0)
        return true;
    if (!c->dry_run && !heartbeat_drop(c->source, cfg, e))
        return false;
    tell(c,
         all > ours ? "the job's row in heartbeat table %s.%s on the source"
                    : "heartbeat table %s.%s on the source",
         cfg->source.heartbeat_schema, cfg->source.heartbeat_table);
    return true;
}

static bool triggers_remove(Cleanup *c, Error *e) {
    bool found;
    if (!ddl_trigger_drop(c->source, c->cfg, c->dry_run, &found, e))
        return false;
    if (found)
        tell(c, "event triggers dts_%s_ddl, _drop and _rewrite on the source", c->cfg->name);
    return true;
}

/* After the publications: a table without identity that is still published refuses the users' UPDATE (trap A1). */
static bool identities_restore(Cleanup *c, Error *e) {
    bool ok = true;
    for (int n = 0; n < c->identity_count; n++) {
        const Identity *identity = &c->identities[n];
        Error one = {0};
        if (!c->dry_run && !publication_restore_identity(c->source, identity->schema, identity->name,
                                                         identity->setting, IDENTITY_WAIT_MS, &one)) {
            *e = one;
            ok = false;
            continue;
        }
        tell(c, "the replica identity that was set on table %s.%s on the source", identity->schema,
             identity->name);
    }
    return ok;
}

/* Every step is tried, also after one that failed; true when all of it is done. */
static bool source_clean(Cleanup *c) {
    Error e = {0};
    if (c->source == NULL)
        return false;
    bool slots = noted(c, slot_remove(c, c->cfg->slot, &e), &e);
    slots = noted(c, slot_remove(c, c->cfg->load_slot, &e), &e) && slots;
    bool publications = noted(c, publications_remove(c, &e), &e);
    bool triggers = noted(c, triggers_remove(c, &e), &e);
    bool heartbeat = noted(c, heartbeat_remove(c, &e), &e);
    bool identities = publications && noted(c, identities_restore(c, &e), &e);
    return slots && publications && triggers && heartbeat && identities;
}

/* ---- the target's side ---- */

/* They hold locks, and nobody will ever decide over them. */
static bool prepared_remove(void *cleanup, Pg *target, const char *name, Error *e) {
    Cleanup *c = cleanup;
    if (!c->dry_run && !prepared_roll_back(target, name, e))
        return false;
    tell(c, "prepared transaction %s on the target", name);
    return true;
}

/* The rows go last, so that a cleanup that is killed on the way can be done again. */
static bool state_clean(Cleanup *c, Error *e) {
    const Config *cfg = c->cfg;
    char text[24];
    const char *const job[] = {cfg->name};
    char *sql = state_sql(c->target, cfg, OTHER_JOBS_SQL);
    bool ok = pg_value(c->target, sql, 1, job, text, sizeof text, e);
    free(sql);
    if (!ok)
        return false;
    bool alone = strcmp(text, "0") == 0;
    if (!alone && !c->record.exists)
        return true;
    if (!c->dry_run && !state_remove(c->target, cfg, e))
        return false;
    tell(c, alone ? "schema %s on the target" : "the job's rows in schema %s on the target",
         cfg->target.state_schema);
    return true;
}

/* In which definitions got their new names when the job was killed. */
static bool scratch_remove(Cleanup *c, Error *e) {
    bool found;
    if (!scratch_clean(c->cfg, c->target, c->dry_run, &found, e))
        return false;
    if (found)
        tell(c, "the job's database for new names on the target");
    return true;
}

static void target_clean(Cleanup *c, bool source_done) {
    Error e = {0};
    if (c->target == NULL || !c->state_schema)
        return;
    /* Only the record knows what the identities were. */
    if (!source_done && c->identity_count > 0)
        return;
    if (noted(c, scratch_remove(c, &e), &e) &&
        noted(c, prepared_each(c->target, c->cfg->name, prepared_remove, c, &e), &e))
        noted(c, state_clean(c, &e), &e);
}

/* Its topics stay. By now nobody writes any more. */
static void kafka_clean(Cleanup *c, bool source_done) {
    Error e = {0};
    bool found = false;
    if (c->cfg->kafka.brokers == NULL || !source_done)
        return;
    if (noted(c, control_remove(c->cfg, c->dry_run, &found, &e), &e) && found)
        tell(c, "the job's position in topic %s", c->cfg->kafka.control);
}

static void cleanup_close(Cleanup *c) {
    for (int n = 0; n < c->identity_count; n++) {
        free(c->identities[n].schema);
        free(c->identities[n].name);
    }
    free(c->identities);
    pg_close(c->source);
    pg_close(c->target);
}

bool cleanup_run(const Config *cfg, bool dry_run, int64_t wait_ms,
                 void (*say)(void *context, const char *what), void *context, Error *e) {
    Cleanup c = {.cfg = cfg, .dry_run = dry_run, .say = say, .context = context};
    error_clear(e);
    if (!nobody_answers(cfg, e))
        return false;
    open_both(&c, wait_ms);
    bool idle = nobody_works(&c, e);
    if (idle) {
        bool source_done = source_clean(&c);
        target_clean(&c, source_done);
        kafka_clean(&c, source_done);
    }
    cleanup_close(&c);
    if (!idle)
        return false;
    if (c.first.kind == ERR_NONE)
        return true;
    *e = c.first;
    if (e->kind == ERR_RETRY)
        fail_hint(e, "the rest is done as far as it could be: do it again when this server answers");
    return false;
}
