#include "job/pipeline.h"

#include "job/reload_ask.h"

void pipeline_fail(Pipeline *p, const Error *e) {
    pthread_mutex_lock(&p->lock);
    if (!atomic_load(&p->failed))
        p->error = *e;
    atomic_store(&p->failed, true);
    pthread_mutex_unlock(&p->lock);
}

bool pipeline_ending(const Pipeline *p) {
    return atomic_load(&p->failed) || atomic_load(&p->job->stop) ||
           (p->gives_way && reload_is_wanted(p->job));
}

void pipeline_sinks_ended(Pipeline *p, int count) {
    if (count > 0 && atomic_fetch_sub(&p->sinks_left, count) == count)
        pause_end(&p->sinks_ended);
}
