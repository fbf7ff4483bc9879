/* config_complaint: what a wrong entry of a job file or a wrong flag is answered: the place, the key and,
 * unless it is a secret, the value as it was written, never what ${NAME} or file:PATH stand for. Each fills e
 * with ERR_CONFIG and returns false. `path` is the job file's. Part of core/config. */
#ifndef WALFERRY_CORE_CONFIG_COMPLAINT_H
#define WALFERRY_CORE_CONFIG_COMPLAINT_H

#include "core/config_yaml.h"
#include "core/options.h"

/* "job.yaml:7: "KEY" SENTENCE" */
bool complaint_about(const char *path, const ConfigEntry *entry, const char *sentence, Error *e);
/* Puts the place and the key before an error that knows only the value. */
bool complaint_context(const char *path, const ConfigEntry *entry, Error *e);
/* No option has this key, or it takes a list, one value, or keys below it. */
bool complaint_key(const char *path, const ConfigEntry *entry, Error *e);
/* Not of the option's type, or out of its range. */
bool complaint_value(const char *path, const ConfigEntry *entry, const Option *option, Error *e);
/* Right, but not in this version. */
bool complaint_version(const char *path, const ConfigEntry *entry, const Option *option, Error *e);

#endif
