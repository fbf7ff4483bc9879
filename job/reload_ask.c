#include "job/reload_ask.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"

enum { NAMES_MAX = 10000 };

static const TableMetrics *table_named(const Metrics *m, const char *name) {
    for (int table = 0; table < m->table_count; table++)
        if (strcmp(m->tables[table].name, name) == 0)
            return &m->tables[table];
    return NULL;
}

static bool table_unknown(const Metrics *m, const char *name, Error *e) {
    const char **names = memory_array((size_t)m->table_count + 1, sizeof *names);
    for (int table = 0; table < m->table_count; table++)
        names[table] = m->tables[table].name;
    const char *nearest = config_nearest(name, names, (size_t)m->table_count);
    fail(e, ERR_CONFIG, "the job has no table \"%.200s\"", name);
    if (nearest != NULL)
        fail_hint(e, "did you mean \"%s\"?", nearest);
    free(names);
    return false;
}

static bool can_reload(const Job *job, Error *e) {
    if (job->cfg->kafka.brokers == NULL)
        return fail(e, ERR_CONFIG, "only a job with \"kafka\" loads tables again, into its topics");
    Phase phase = (Phase)atomic_load(&job->metrics->phase);
    return phase == PHASE_CATCHING_UP || phase == PHASE_RUNNING ||
           fail(e, ERR_CONFIG, "the job is in phase %s: wait until it streams", phase_name(phase));
}

bool reload_ask(Job *job, const json_t *tables, Error *e) {
    size_t at;
    json_t *name;
    if (!can_reload(job, e))
        return false;
    if (!json_is_array(tables) || json_array_size(tables) == 0 || json_array_size(tables) > NAMES_MAX)
        return fail(e, ERR_CONFIG, "\"snapshot\" needs the names of tables");
    json_array_foreach(tables, at, name) {
        if (!json_is_string(name))
            return fail(e, ERR_CONFIG, "a table's name is a text");
        if (table_named(job->metrics, json_string_value(name)) == NULL)
            return table_unknown(job->metrics, json_string_value(name), e);
    }
    pthread_mutex_lock(&job->lock);
    if (job->reload == NULL)
        job->reload = json_array();
    json_array_foreach(tables, at, name) json_array_append(job->reload, name);
    atomic_store(&job->reload_wanted, true);
    pthread_mutex_unlock(&job->lock);
    return true;
}

bool reload_is_noted(Job *job) {
    return !atomic_load(&job->reload_wanted);
}

bool reload_is_wanted(Job *job) {
    int64_t later_ms = atomic_load(&job->reload_later_ms);
    return atomic_load(&job->reload_wanted) || (later_ms != 0 && clock_ms() >= later_ms);
}
