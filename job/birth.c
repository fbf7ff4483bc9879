#include "job/birth.h"

#include "core/fault.h"
#include "job/birth_source.h"
#include "sink/kafka/kafka_rights.h"

enum { KAFKA_WAIT_MS = 30000 };

/* Before anything is made: Kafka, if the job has one, will take its records. */
static bool kafka_may(Walk *walk, const ServerIdentity *server, Error *e) {
    const Config *cfg = walk->job->cfg;
    KafkaWait wait = walk_wait_kafka(walk, KAFKA_WAIT_MS);
    return cfg->kafka.brokers == NULL || !cfg->phases.incremental ||
           kafka_rights_try(cfg, walk->selection, server->system_id, &wait, e);
}

static bool record_born(Walk *walk, Lsn point, Error *e) {
    const Config *cfg = walk->job->cfg;
    return state_born(walk->record, cfg, point, walk->selection, e) &&
           state_names_note(walk->record, cfg, walk->selection->mapping, e);
}

bool birth_of_job(Walk *walk, Exported *out, Error *e) {
    const Config *cfg = walk->job->cfg;
    ServerIdentity server;
    *out = (Exported){0};
    if (!birth_source_identify(walk, &server, e) || !walk_lock(walk, e) || !kafka_may(walk, &server, e))
        return false;
    if (cfg->phases.incremental && !birth_source_slot_clear(walk, walk->job_record.exists, e))
        return false;
    if (!state_intend(walk->record, cfg, server.system_id, server.timeline, walk->job->instance, e))
        return false;
    if (!cfg->phases.incremental)
        return exported_by_transaction(walk, out, e) && record_born(walk, LSN_NONE, e);
    return birth_source_slot(walk, out, e) && record_born(walk, out->point, e) &&
           FAULT("snapshot.after_export", e);
}
