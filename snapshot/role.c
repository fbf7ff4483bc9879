#include "snapshot/role.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/memory.h"

enum { SQL_MAX_BYTES = 4096, NAMES_MAX_BYTES = 1 << 20 };

/* What the bootstrap superuser owns is written down nowhere but in the objects. $1: owners, $2: grantees. */
#define OWNED(catalog, owner)                                                                                \
    " UNION SELECT x." owner ", true FROM pg_catalog." catalog                                               \
    " x WHERE $1 AND x.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"                      \
    " WHERE d.classid = 'pg_catalog." catalog "'::regclass AND d.objid = x.oid AND d.deptype = 'e')"
#define NAMED                                                                                                \
    "named(oid, owns) AS ("                                                                                  \
    " SELECT s.refobjid, s.deptype = 'o' AND s.classid <> 'pg_catalog.pg_user_mapping'::regclass"            \
    " FROM pg_catalog.pg_shdepend s WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass"                   \
    " AND s.dbid = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = current_database())"        \
    " AND (s.deptype = 'r' OR s.classid = 'pg_catalog.pg_user_mapping'::regclass OR (s.deptype = 'o' AND "   \
    "$1)"                                                                                                    \
    "      OR (s.deptype = 'a' AND $2)"                                                                      \
    "      OR (s.classid = 'pg_catalog.pg_default_acl'::regclass AND $2))"                                   \
    " AND s.classid NOT IN ('pg_catalog.pg_extension'::regclass, 'pg_catalog.pg_publication'::regclass,"     \
    "                       'pg_catalog.pg_subscription'::regclass)"                                         \
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = s.classid AND d.objid = s.objid"  \
    "                 AND d.deptype = 'e')" OWNED("pg_class", "relowner") OWNED("pg_proc", "proowner")       \
        OWNED("pg_type", "typowner") OWNED("pg_namespace", "nspowner") ")"
#define ROLE_FIELDS                                                                                          \
    "r.rolname,"                                                                                             \
    " EXISTS (SELECT FROM named n WHERE n.oid = r.oid AND n.owns),"                                          \
    " concat(CASE WHEN r.rolsuper THEN ' SUPERUSER' END, CASE WHEN NOT r.rolinherit THEN ' NOINHERIT' END,"  \
    "  CASE WHEN r.rolcreaterole THEN ' CREATEROLE' END, CASE WHEN r.rolcreatedb THEN ' CREATEDB' END,"      \
    "  CASE WHEN r.rolcanlogin THEN ' LOGIN' END, CASE WHEN r.rolreplication THEN ' REPLICATION' END,"       \
    "  CASE WHEN r.rolbypassrls THEN ' BYPASSRLS' END,"                                                      \
    "  CASE WHEN r.rolconnlimit >= 0 THEN ' CONNECTION LIMIT ' || r.rolconnlimit END), r.rolvaliduntil,"     \
    " r.rolsuper OR r.rolreplication OR r.rolbypassrls"

static const char SQL_NEEDED[] = "WITH " NAMED "SELECT " ROLE_FIELDS " FROM pg_catalog.pg_roles r"
                                 " WHERE r.oid IN (SELECT n.oid FROM named n) AND r.rolname NOT LIKE 'pg\\_%'"
                                 " ORDER BY r.rolname";
/* With whoever has their rights, and what rights they have from others. */
static const char SQL_USED[] =
    "WITH RECURSIVE " NAMED ", below(oid) AS (SELECT n.oid FROM named n UNION"
    " SELECT m.member FROM pg_catalog.pg_auth_members m JOIN below b ON b.oid = m.roleid"
    "), above(oid) AS (SELECT n.oid FROM named n UNION"
    " SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN above a ON a.oid = m.member"
    ") SELECT " ROLE_FIELDS " FROM pg_catalog.pg_roles r WHERE r.rolname NOT LIKE 'pg\\_%'"
    " AND (r.oid IN (SELECT b.oid FROM below b) OR r.oid IN (SELECT a.oid FROM above a)) ORDER BY r.rolname";
static const char SQL_MISSING[] =
    "SELECT pg_catalog.count(*) = 0 FROM pg_catalog.pg_roles WHERE rolname = $1";
/* What $1 is a member of, and its members. */
#define MEMBERS(options)                                                                                     \
    "SELECT g.rolname, u.rolname, " options " FROM pg_catalog.pg_auth_members m"                             \
    " JOIN pg_catalog.pg_roles g ON g.oid = m.roleid JOIN pg_catalog.pg_roles u ON u.oid = m.member"         \
    " WHERE $1 IN (g.rolname, u.rolname) GROUP BY 1, 2 ORDER BY 1, 2"
static const char SQL_MEMBERS[] = MEMBERS("CASE WHEN bool_or(m.admin_option) THEN ' WITH ADMIN OPTION' END");
static const char SQL_MEMBERS_16[] = MEMBERS("format(' WITH ADMIN %s, INHERIT %s, SET %s', "
                                             "bool_or(m.admin_option)::text, bool_or(m.inherit_option)::text,"
                                             " bool_or(m.set_option)::text)");
static const char SQL_IS_SUPER[] = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
enum { MEMBER_OF, MEMBER, MEMBER_OPTIONS, SERVER_16 = 160000 };

PGresult *role_needed(Pg *source, const Config *cfg, Error *e) {
    const char *const params[] = {cfg->load.owners == OWNERS_KEEP ? "t" : "f",
                                  cfg->load.privileges ? "t" : "f"};
    return pg_query(source, SQL_NEEDED, 2, params, e);
}

static bool is_true(Pg *pg, const char *sql, const char *role, bool *out, Error *e) {
    char text[8];
    if (!pg_value(pg, sql, role == NULL ? 0 : 1, &role, text, sizeof text, e))
        return false;
    *out = text[0] == 't';
    return true;
}

static bool role_make(Pg *target, const PGresult *roles, int row, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "CREATE ROLE ");
    pg_write_name(&sql, target, pg_cell(roles, row, ROLE_NAME));
    writer_text(&sql, pg_cell(roles, row, ROLE_ATTRIBUTES));
    if (!pg_cell_null(roles, row, ROLE_UNTIL)) {
        writer_text(&sql, " VALID UNTIL ");
        pg_write_literal(&sql, target, pg_cell(roles, row, ROLE_UNTIL));
    }
    bool ok = pg_run(target, writer_string(&sql), e) ||
              fail_context(e, "role \"%s\"", pg_cell(roles, row, ROLE_NAME));
    writer_free(&sql);
    return ok;
}

static bool member_make(Pg *target, const char *role, const char *member, const char *options, Error *e) {
    bool role_missing, member_missing;
    if (!is_true(target, SQL_MISSING, role, &role_missing, e) ||
        !is_true(target, SQL_MISSING, member, &member_missing, e))
        return false;
    if (role_missing || member_missing)
        return true;
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "GRANT ");
    pg_write_name(&sql, target, role);
    writer_text(&sql, " TO ");
    pg_write_name(&sql, target, member);
    writer_text(&sql, options);
    bool ok = pg_run(target, writer_string(&sql), e) ||
              fail_context(e, "membership of role \"%s\" in role \"%s\"", member, role);
    writer_free(&sql);
    return ok;
}

/* Memberships of a new role; and our own, where we give it objects of ours. */
static bool members_make(Pg *source, Pg *target, const char *role, Error *e) {
    bool options = source->version >= SERVER_16 && target->version >= SERVER_16;
    PGresult *rows = pg_query(source, options ? SQL_MEMBERS_16 : SQL_MEMBERS, 1, &role, e);
    bool ok = rows != NULL;
    for (int row = 0; ok && row < PQntuples(rows); row++)
        ok = member_make(target, pg_cell(rows, row, MEMBER_OF), pg_cell(rows, row, MEMBER),
                         pg_cell(rows, row, MEMBER_OPTIONS), e);
    PQclear(rows);
    return ok;
}

static bool self_join(Pg *target, const char *role, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "GRANT ");
    pg_write_name(&sql, target, role);
    writer_text(&sql, " TO CURRENT_USER");
    bool ok = pg_run(target, writer_string(&sql), e);
    writer_free(&sql);
    return ok;
}

static bool roles_make(Pg *source, Pg *target, const PGresult *roles, bool *made, bool join, Error *e) {
    for (int row = 0; row < PQntuples(roles); row++) {
        const char *role = pg_cell(roles, row, ROLE_NAME);
        if (!is_true(target, SQL_MISSING, role, &made[row], e) ||
            (made[row] && !role_make(target, roles, row, e)))
            return false;
    }
    for (int row = 0; row < PQntuples(roles); row++) {
        const char *role = pg_cell(roles, row, ROLE_NAME);
        if (made[row] && (!members_make(source, target, role, e) || (join && !self_join(target, role, e))))
            return false;
    }
    return true;
}

static void made_tell(const PGresult *roles, const bool *made) {
    Writer names = writer_new(NAMES_MAX_BYTES);
    int count = 0;
    for (int row = 0; row < PQntuples(roles); row++)
        if (made[row])
            writer_format(&names, "%s%s", count++ == 0 ? "" : ", ", pg_cell(roles, row, ROLE_NAME));
    if (count > 0)
        log_info("%d roles made at the target, without passwords and settings: %s", count,
                 writer_string(&names));
    writer_free(&names);
}

bool role_carry(Pg *source, Pg *target, const Config *cfg, Error *e) {
    static const char *const everything[] = {"t", "t"};
    bool super;
    if (!is_true(target, SQL_IS_SUPER, NULL, &super, e))
        return false;
    PGresult *roles = pg_query(source, SQL_USED, 2, everything, e);
    if (roles == NULL)
        return false;
    bool *made = memory_array((size_t)PQntuples(roles) + 1, sizeof *made);
    bool join = !super && cfg->load.owners == OWNERS_KEEP;
    bool ok = roles_make(source, target, roles, made, join, e);
    if (ok)
        made_tell(roles, made);
    free(made);
    PQclear(roles);
    return ok;
}
