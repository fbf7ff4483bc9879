/* check_text: the pure parts of the check: name lists, settings that are lists, versions, hosts. */
#ifndef WALFERRY_JOB_CHECK_TEXT_H
#define WALFERRY_JOB_CHECK_TEXT_H

#include <jansson.h>

#include "core/bytes.h"
#include "job/check.h"

/* Up to 20 names and the count: "a, b, c" or "a, b, … and 7 more". */
enum { CHECK_NAMES_MAX = 20 };
typedef struct Names {
    int count;
    Writer text;
} Names;
Names names_new(void);
void names_free(Names *n);
void names_add(Names *n, const char *name); /* what is beyond the 20 is only counted */
bool names_full(const Names *n);            /* the next one is only counted */
const char *names_text(Names *n);           /* once, at the end; lives as long as the names */

/* One element of a setting that is a list ("a, \"b c\", FIRST 2 (d)"), unquoted; false at the end. */
bool setting_next(const char **at, char *out, size_t size);
bool setting_has(const char *setting, const char *name);
/* Trap A14: whether the names of synchronous standbys take in `application`, by itself or by "*". */
bool standbys_match(const char *names, const char *application);
/* The same setting without `application`, and "*" replaced by the standbys that are there. */
void standbys_write(Writer *out, const char *names, const char *application, const char *const *standbys,
                    int count);

/* "localhost", a loopback address, or a unix socket's folder. */
bool host_is_local(const char *host);

/* "15.20" of 150020. */
const char *version_text(int version, char out[16]);
/* Passed; Failed: too old; Alert: newer than we know, or with a known decoding bug (lesson L20): `why` says it. */
CheckState source_version_judge(int version, const char **why);

/* A JSON string, also of bytes that are not UTF-8 (an SQL_ASCII database may hold such names). */
json_t *text_json(const char *text);

#endif
