/* role: the roles that the source's database uses. Definitions name them (policies, user mappings; on request owners and
 * grantees), and what names a role that is not there is refused. */
#ifndef WALFERRY_SNAPSHOT_ROLE_H
#define WALFERRY_SNAPSHOT_ROLE_H

#include "core/config.h"
#include "core/pg.h"

/* Those that the definitions name as they are copied. */
typedef enum RoleField {
    ROLE_NAME,
    ROLE_OWNS,       /* something whose owner is kept */
    ROLE_ATTRIBUTES, /* as CREATE ROLE takes them: " LOGIN CREATEDB" */
    ROLE_UNTIL,      /* VALID UNTIL, or NULL */
    ROLE_HIGH        /* an attribute that only a superuser gives */
} RoleField;
PGresult *role_needed(Pg *source, const Config *cfg, Error *e);

/* Makes what is missing of them, of their members and of what they are members of; roles that exist are left as they
 * are. Without passwords and settings. In the caller's transaction. */
bool role_carry(Pg *source, Pg *target, const Config *cfg, Error *e);

#endif
