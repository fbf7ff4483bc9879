#include "snapshot/scratch.h"

#include <stdio.h>

#include "core/fault.h"
#include "core/sqlstate.h"

enum { CONNECT_MS = 10000, SQL_MAX_BYTES = 4096, SERVER_13 = 130000, SERVER_15 = 150000, SERVER_17 = 170000 };

static const char SQL_NAME[] = "SELECT pg_catalog.concat($1::text, '_', d.oid) FROM pg_catalog.pg_database d"
                               " WHERE d.datname = pg_catalog.current_database()";
static const char SQL_EXISTS[] =
    "SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_database WHERE datname = $1";

#define MAKING(locale)                                                                                       \
    "SELECT pg_catalog.format('CREATE DATABASE %I TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L'" \
    " || " locale ", $1::text, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype)"        \
    " FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
static const char SQL_MAKING_14[] = MAKING("''");
static const char SQL_MAKING_15[] =
    MAKING("CASE WHEN d.datlocprovider = 'i' THEN"
           "  pg_catalog.format(' LOCALE_PROVIDER icu ICU_LOCALE %L', d.daticulocale)"
           " ELSE ' LOCALE_PROVIDER libc' END");
static const char SQL_MAKING_17[] =
    MAKING("CASE d.datlocprovider WHEN 'i' THEN"
           "  pg_catalog.format(' LOCALE_PROVIDER icu ICU_LOCALE %L', d.datlocale)"
           " WHEN 'b' THEN pg_catalog.format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', d.datlocale)"
           " ELSE ' LOCALE_PROVIDER libc' END");

static bool name_read(const Config *cfg, Pg *target, char name[64], Error *e) {
    const char *const params[] = {cfg->slot};
    return pg_value(target, SQL_NAME, 1, params, name, 64, e);
}

static bool drop(Pg *target, const char *name, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "DROP DATABASE IF EXISTS ");
    pg_write_name(&sql, target, name);
    if (target->version >= SERVER_13) /* a killed run's sessions may still be there */
        writer_text(&sql, " WITH (FORCE)");
    bool ok = pg_run(target, writer_string(&sql), e) || fail_context(e, "database \"%s\"", name);
    writer_free(&sql);
    return ok;
}

static bool make(Pg *target, const char *name, Error *e) {
    char sql[SQL_MAX_BYTES];
    const char *const params[] = {name};
    const char *making = target->version >= SERVER_17   ? SQL_MAKING_17
                         : target->version >= SERVER_15 ? SQL_MAKING_15
                                                        : SQL_MAKING_14;
    if (!pg_value(target, making, 1, params, sql, sizeof sql, e))
        return false;
    if (pg_run(target, sql, e))
        return true;
    if (sqlstate_is(e, SQLSTATE_INSUFFICIENT_PRIVILEGE))
        fail_hint(e, "definitions get their new names in a database of their own, which is dropped again: "
                     "ALTER ROLE … CREATEDB for the account of target.dsn");
    return fail_context(e, "database \"%s\"", name);
}

static Pg *session_open(const Config *cfg, const char *dsn, Error *e) {
    PgAddress to = {.dsn = dsn, .side = "target", .job = cfg->name};
    return pg_open(&to, CONNECT_MS, e);
}

bool scratch_make(const Config *cfg, Pg *target, Scratch *out, Error *e) {
    *out = (Scratch){.outside = NULL};
    char *dsn = pg_dsn_pin(cfg->target.dsn, target);
    out->outside = session_open(cfg, dsn, e);
    pg_forget(dsn);
    if (out->outside == NULL || !name_read(cfg, target, out->name, e) || !drop(out->outside, out->name, e) ||
        !make(out->outside, out->name, e) || !FAULT("snapshot.scratch_made", e))
        return false;
    out->dsn = pg_dsn_beside(cfg->target.dsn, target, out->name);
    out->inside = session_open(cfg, out->dsn, e);
    return out->inside != NULL;
}

bool scratch_end(Scratch *scratch, Error *e) {
    pg_close(scratch->inside);
    pg_forget(scratch->dsn);
    bool ok =
        scratch->outside == NULL || scratch->name[0] == '\0' || drop(scratch->outside, scratch->name, e);
    pg_close(scratch->outside);
    *scratch = (Scratch){.outside = NULL};
    return ok;
}

bool scratch_clean(const Config *cfg, Pg *target, bool only_look, bool *found, Error *e) {
    char name[64], text[8];
    const char *const params[] = {name};
    if (!name_read(cfg, target, name, e) || !pg_value(target, SQL_EXISTS, 1, params, text, sizeof text, e))
        return false;
    *found = text[0] == 't';
    return !*found || only_look || drop(target, name, e);
}
