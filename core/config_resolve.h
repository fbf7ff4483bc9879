/* config_resolve: what a job's options make together: the name, what is named after it, folders, and the
 * checks that need more than one option. Part of core/config. */
#ifndef WALFERRY_CORE_CONFIG_RESOLVE_H
#define WALFERRY_CORE_CONFIG_RESOLVE_H

#include "core/config.h"

typedef struct ConfigGiven {
    bool whole; /* the job has to be complete: a source and a destination */
    bool phases, retry_other;
} ConfigGiven;

bool config_resolve(Config *cfg, const ConfigGiven *given, Error *e);

#endif
