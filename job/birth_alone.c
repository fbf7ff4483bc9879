#include "job/birth_alone.h"

#include <unistd.h>

#include "core/fault.h"
#include "job/birth_source.h"
#include "job/takeover.h"
#include "sink/file_position.h"
#include "sink/kafka/control_topic.h"
#include "sink/kafka/kafka_rights.h"

static const char SQL_PUBLISHED[] =
    "SELECT schemaname, tablename FROM pg_catalog.pg_publication_tables WHERE pubname IN ($1, $2)";

enum { KAFKA_WAIT_MS = 30000 };

static bool can_be_noted(const Config *cfg, Error *e) {
    return cfg->identity == IDENTITY_FAIL ||
           fail(e, ERR_CONFIG,
                "\"identity\" other than fail needs \"target.dsn\": what it sets is noted there");
}

/* ---- the record is a position beside the file ---- */

static bool file_birth(Walk *walk, FilePosition *known, Error *e) {
    const Config *cfg = walk->job->cfg;
    ServerIdentity server;
    if (!file_position_read(cfg, known, e))
        return false;
    if (known->exists && !known->intent)
        return true;
    if (!birth_source_identify(walk, &server, e) || !birth_source_slot_clear(walk, known->exists, e))
        return false;
    *known = (FilePosition){.intent = true,
                            .position = {.system_id = server.system_id, .timeline = server.timeline}};
    Exported exported;
    bool ok = file_position_write(cfg, known, e) && birth_source_slot(walk, &exported, e);
    if (!ok)
        return false;
    known->intent = false;
    known->position.applied = known->position.bound = exported.point;
    exported_end(&exported);
    return file_position_write(cfg, known, e);
}

static bool file_born(Walk *walk, bool *already, Error *e) {
    FilePosition known;
    const Config *cfg = walk->job->cfg;
    if (!file_position_read(cfg, &known, e))
        return false;
    *already = known.exists && !known.intent;
    if (*already)
        return true;
    int lock =
        file_position_lock(cfg, e); /* until the position is written: nobody else may be at the same birth */
    bool ok = lock >= 0 && file_birth(walk, &known, e);
    if (lock >= 0)
        close(lock);
    return ok;
}

/* ---- the record is the position in Kafka's control topic ---- */

static bool slot_made(Walk *walk, ControlRecord *record, Exported *exported, Error *e) {
    record->loading = walk->job->cfg->phases.full;
    if (!birth_source_slot(walk, exported, e))
        return false;
    record->position.applied = record->position.bound = exported->point;
    return true;
}

/* Begun anew, the job would leave out what stands between the connector's position and a slot of now. */
static bool takeover_goes_on(const Walk *walk, const ControlRecord *record, Error *e) {
    const Config *cfg = walk->job->cfg;
    if (!record->intent || lsn_is_none(record->position.applied) || walk->job->from_debezium != NULL)
        return true;
    fail(e, ERR_CONFIG, "job \"%s\" was taking over from a Debezium connector, and did not come to its end",
         cfg->name);
    return fail_hint(
        e, "start with --from-debezium once more; or, for a job that begins now, run walferry cleanup");
}

/* What another's open transaction hid is seen by now. */
static bool kafka_birth(Walk *walk, KafkaClient *producer, const ServerIdentity *server, bool *already,
                        ControlRecord *record, Exported *exported, KafkaWait *wait, Error *e) {
    const Config *cfg = walk->job->cfg;
    if (!control_read(cfg, true, wait, record, e))
        return false;
    *already = record->exists && !record->intent;
    if (*already)
        return true;
    if (!takeover_goes_on(walk, record, e) || !birth_source_slot_clear(walk, record->exists, e))
        return false;
    bool takes_over = walk->job->from_debezium != NULL;
    Lsn applied = LSN_NONE;
    if (takes_over && !takeover_look(walk, &applied, e))
        return false;
    *record = (ControlRecord){.exists = true,
                              .intent = true,
                              .position = {.applied = applied,
                                           .bound = applied,
                                           .system_id = server->system_id,
                                           .timeline = server->timeline}};
    if (!control_write(producer, record, wait, e))
        return false;
    if (!(takes_over ? birth_source_prepare(walk, e) &&
                           takeover_slot(walk, record->position.applied, &record->position.bound, e)
                     : slot_made(walk, record, exported, e)))
        return false;
    record->intent = false;
    kafka_moved(wait);
    return control_write(producer, record, wait, e);
}

static bool kafka_born(Walk *walk, bool *already, ControlRecord *record, Exported *exported, Error *e) {
    const Config *cfg = walk->job->cfg;
    ServerIdentity server;
    KafkaWait wait = walk_wait_kafka(walk, KAFKA_WAIT_MS);
    if (!control_read(cfg, false, &wait, record, e))
        return false;
    *already = record->exists && !record->intent;
    if (*already)
        return !record->loading || (FAULT("kafka.load_read", e) && walk_nobody_runs(walk, e));
    if (!walk_nobody_runs(walk, e) || !birth_source_identify(walk, &server, e) ||
        !kafka_rights_try(cfg, walk->selection, server.system_id, &wait, e))
        return false;
    kafka_moved(&wait);
    KafkaClient *producer = control_take(cfg, server.system_id, record->workers, &wait, e);
    bool ok = producer != NULL && kafka_birth(walk, producer, &server, already, record, exported, &wait, e);
    kafka_client_free(producer);
    return ok;
}

bool birth_alone(Walk *walk, bool *already, ControlRecord *record, Exported *exported, Error *e) {
    const Config *cfg = walk->job->cfg;
    *record = (ControlRecord){.exists = false};
    return can_be_noted(cfg, e) &&
           (cfg->kafka.brokers != NULL ? kafka_born(walk, already, record, exported, e)
                                       : file_born(walk, already, e));
}

static bool published_name(const void *list, int row, const char **schema, const char **name) {
    const PGresult *rows = list;
    if (row >= PQntuples(rows))
        return false;
    *schema = pg_cell(rows, row, 0);
    *name = pg_cell(rows, row, 1);
    return true;
}

bool birth_alone_keep_published(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    const char *const names[] = {cfg->source.publication, cfg->insert_publication};
    PGresult *published = pg_query(walk->source, SQL_PUBLISHED, 2, names, e);
    if (published == NULL)
        return false;
    selection_keep(walk->selection, published_name, published);
    PQclear(published);
    return true;
}
