/* sqlstate: the codes of a server's errors that something is made of one by one, with the names that PostgreSQL's manual has
 * for them (appendix A). What a whole class stands for is core/retry's. */
#ifndef WALFERRY_CORE_SQLSTATE_H
#define WALFERRY_CORE_SQLSTATE_H

#include <string.h>

#include "core/error.h"

#define SQLSTATE_FEATURE_NOT_SUPPORTED            "0A000"
#define SQLSTATE_CHARACTER_NOT_IN_REPERTOIRE      "22021"
#define SQLSTATE_INVALID_PARAMETER_VALUE          "22023"
#define SQLSTATE_UNTRANSLATABLE_CHARACTER         "22P05"
#define SQLSTATE_UNIQUE_VIOLATION                 "23505"
#define SQLSTATE_INVALID_AUTHORIZATION            "28000"
#define SQLSTATE_INVALID_PASSWORD                 "28P01"
#define SQLSTATE_DEPENDENT_OBJECTS_STILL_EXIST    "2BP01"
#define SQLSTATE_INVALID_CATALOG_NAME             "3D000" /* no such database */
#define SQLSTATE_INVALID_SCHEMA_NAME              "3F000" /* no such schema */
#define SQLSTATE_DEADLOCK_DETECTED                "40P01"
#define SQLSTATE_INSUFFICIENT_PRIVILEGE           "42501"
#define SQLSTATE_SYNTAX_ERROR                     "42601"
#define SQLSTATE_DUPLICATE_COLUMN                 "42701"
#define SQLSTATE_UNDEFINED_OBJECT                 "42704"
#define SQLSTATE_DUPLICATE_OBJECT                 "42710"
#define SQLSTATE_WRONG_OBJECT_TYPE                "42809"
#define SQLSTATE_UNDEFINED_TABLE                  "42P01"
#define SQLSTATE_DUPLICATE_TABLE                  "42P07"
#define SQLSTATE_OUT_OF_MEMORY                    "53200"
#define SQLSTATE_TOO_MANY_CONNECTIONS             "53300"
#define SQLSTATE_CONFIGURATION_LIMIT_EXCEEDED     "53400"
#define SQLSTATE_PROGRAM_LIMIT_EXCEEDED           "54000"
#define SQLSTATE_OBJECT_NOT_IN_PREREQUISITE_STATE "55000"
#define SQLSTATE_OBJECT_IN_USE                    "55006"
#define SQLSTATE_LOCK_NOT_AVAILABLE               "55P03"
#define SQLSTATE_UNDEFINED_FILE                   "58P01"
#define SQLSTATE_INTERNAL_ERROR                   "XX000"

static inline bool sqlstate_is(const Error *e, const char *code) {
    return strcmp(e->sqlstate, code) == 0;
}

#endif
