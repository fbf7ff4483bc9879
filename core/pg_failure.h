/* pg_failure: what libpq says about a login that failed. Only core/pg.c uses it; pg_failed, for statements, is in the
 * same file. */
#ifndef WALFERRY_CORE_PG_FAILURE_H
#define WALFERRY_CORE_PG_FAILURE_H

#include "core/pg.h"

/* Fills e from the connection's message, which must have been made verbose before the login; returns false. */
bool pg_login_failed(const Pg *pg, Error *e);

#endif
