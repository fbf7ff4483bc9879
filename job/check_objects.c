#include "job/check_objects.h"

#include <string.h>

#include "job/check_text.h"
#include "snapshot/role.h"
#include "snapshot/still.h"

/* pg_dump locks every table at once, and everything is made at the target in one transaction. */
static const char LOCKS_SQL[] =
    "SELECT count(*) FILTER (WHERE c.relkind IN ('r', 'p')),"
    "  count(*) FILTER (WHERE c.relkind <> 'i') + 3 * count(*) FILTER (WHERE c.reltoastrelid <> 0)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'";
static const char PLACES_SQL[] =
    "SELECT current_setting('max_locks_per_transaction')::bigint,"
    "  current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint"
    "    + current_setting('max_worker_processes')::bigint + current_setting('max_wal_senders')::bigint";
static const char TARGET_ROLES_SQL[] =
    "SELECT r.rolname, pg_has_role(r.oid, 'USAGE') FROM pg_roles r ORDER BY r.rolname COLLATE \"C\"";
static const char RIGHTS_SQL[] =
    "SELECT rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = current_user";
static const char EVENT_TRIGGERS_SQL[] =
    "SELECT t.evtname FROM pg_event_trigger t WHERE NOT EXISTS (SELECT FROM pg_depend d"
    " WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e') ORDER BY 1";
static const char FORCED_SQL[] =
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND c.relrowsecurity AND c.relforcerowsecurity ORDER BY 1, 2";
static const char ACTIVE_SQL[] =
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND row_security_active(c.oid) ORDER BY 1, 2";

/* Tables of extensions whose rows are the users' own; the condition is the extension's, and leaves its own rows out. */
static const char EXTENSION_TABLES_SQL[] =
    "SELECT n.nspname, c.relname, x.extname, k.condition FROM pg_extension x"
    " CROSS JOIN LATERAL ROWS FROM (unnest(x.extconfig), unnest(x.extcondition)) AS k (relation, condition)"
    " JOIN pg_class c ON c.oid = k.relation AND c.relkind = 'r' JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1, 2";

enum { NAME_MAX_BYTES = 1 << 10 };

/* ---- locks ---- */

static bool locks_look(Finding *out, Pg *pg, int64_t needed, Error *e) {
    PGresult *rows = pg_query(pg, PLACES_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    int64_t each = pg_cell_int(rows, 0, 0), sessions = pg_cell_int(rows, 0, 1);
    PQclear(rows);
    if (needed <= each * sessions)
        return finding_pass(out, "%s: %lld locks are needed at once, %lld fit", pg->side, (long long)needed,
                            (long long)(each * sessions));
    finding_fix(out, "ALTER SYSTEM SET max_locks_per_transaction = %lld; -- then restart the %s",
                (long long)(needed / sessions + 1), pg->side);
    return finding_alert(out, "%s: %lld locks are needed at once, and no more than about %lld fit", pg->side,
                         (long long)needed, (long long)(each * sessions));
}

bool check_lock_places(Check *c, Finding *out, Error *e) {
    PGresult *rows = pg_query(c->source, LOCKS_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    int64_t read = pg_cell_int(rows, 0, 0), made = pg_cell_int(rows, 0, 1);
    PQclear(rows);
    return locks_look(out, c->source, read, e) && locks_look(out, c->target, made, e);
}

/* ---- roles ---- */

/* The row of the role among TARGET_ROLES_SQL's; -1: there is none. */
static int role_find(const PGresult *roles, const char *name) {
    int low = 0, high = PQntuples(roles);
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(name, pg_cell(roles, middle, 0));
        if (order == 0)
            return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

typedef struct Rights {
    bool super, create_role, bypass;
} Rights;

static bool rights_read(Check *c, Rights *out, Error *e) {
    PGresult *rows = pg_query(c->target, RIGHTS_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    *out = (Rights){pg_cell_bool(rows, 0, 0), pg_cell_bool(rows, 0, 1), pg_cell_bool(rows, 0, 2)};
    PQclear(rows);
    return true;
}

static void role_fix(const Check *c, Finding *out, const char *before, const char *role, const char *behind) {
    Writer name = writer_new(NAME_MAX_BYTES);
    pg_write_name(&name, c->target, role);
    finding_fix(out, "%s%s%s", before, writer_string(&name), behind);
    writer_free(&name);
}

/* The words behind a role that gets the target's account as a member. */
static void member_fix(const Check *c, Finding *out, const char *role) {
    Writer to = writer_new(NAME_MAX_BYTES);
    writer_text(&to, " TO ");
    pg_write_name(&to, c->target, pg_cell(c->target_facts, 0, TARGET_USER));
    writer_text(&to, ";");
    role_fix(c, out, "GRANT ", role, writer_string(&to));
    writer_free(&to);
}

static void create_fix(const Check *c, Finding *out, const PGresult *needed, int row) {
    Writer rest = writer_new(NAME_MAX_BYTES);
    writer_format(&rest, "%s;", pg_cell(needed, row, ROLE_ATTRIBUTES));
    role_fix(c, out, "CREATE ROLE ", pg_cell(needed, row, ROLE_NAME), writer_string(&rest));
    writer_free(&rest);
}

static void roles_look(const Check *c, Finding *out, const PGresult *needed, const PGresult *there,
                       const Rights *ours) {
    bool may_make = c->cfg->schema.roles && (ours->super || ours->create_role);
    Names missing = names_new(), foreign = names_new();
    for (int row = 0; row < PQntuples(needed); row++) {
        const char *role = pg_cell(needed, row, ROLE_NAME);
        int found = role_find(there, role);
        bool made = may_make && (ours->super || !pg_cell_bool(needed, row, ROLE_HIGH));
        if (found < 0 && !made) {
            if (!names_full(&missing))
                create_fix(c, out, needed, row);
            names_add(&missing, role);
        } else if (found >= 0 && pg_cell_bool(needed, row, ROLE_OWNS) && !pg_cell_bool(there, found, 1)) {
            if (!names_full(&foreign))
                member_fix(c, out, role);
            names_add(&foreign, role);
        }
    }
    if (missing.count > 0) {
        finding_fix(out, c->cfg->schema.roles ? "-- by a superuser at the target"
                                              : "-- at the target, or set schema.roles: yes");
        finding_fail(out, "%d roles that the definitions name do not exist at the target%s: %s",
                     missing.count, c->cfg->schema.roles ? ", and its account may not make them" : "",
                     names_text(&missing));
    }
    if (foreign.count > 0)
        finding_fail(out, "%d owners whose rights the target's account has not: %s", foreign.count,
                     names_text(&foreign));
    if (out->state == CHECK_PASSED)
        finding_pass(out, "%d roles are named by the definitions", PQntuples(needed));
    names_free(&missing);
    names_free(&foreign);
}

bool check_roles(Check *c, Finding *out, Error *e) {
    Rights ours;
    if (!rights_read(c, &ours, e))
        return false;
    PGresult *needed = role_needed(c->source, c->cfg, e);
    PGresult *there = needed == NULL ? NULL : pg_query(c->target, TARGET_ROLES_SQL, 0, NULL, e);
    if (there != NULL)
        roles_look(c, out, needed, there, &ours);
    bool ok = there != NULL;
    PQclear(needed);
    PQclear(there);
    return ok;
}

bool check_event_triggers(Check *c, Finding *out, Error *e) {
    Rights ours;
    PGresult *rows = pg_query(c->source, EVENT_TRIGGERS_SQL, 0, NULL, e);
    out->left_out = rows != NULL && PQntuples(rows) == 0;
    if (rows == NULL || out->left_out || !rights_read(c, &ours, e)) {
        bool nothing = out->left_out;
        PQclear(rows);
        return nothing;
    }
    Names names = names_new();
    for (int row = 0; row < PQntuples(rows); row++)
        names_add(&names, pg_cell(rows, row, 0));
    if (!c->cfg->schema.event_triggers) {
        finding_fix(out, "set schema.event_triggers: yes, or make them at the target when the users move");
        finding_alert(out, "%d event triggers are not copied: %s", names.count, names_text(&names));
    } else if (!ours.super) {
        finding_fix(out, "name a superuser in target.dsn, or leave schema.event_triggers out");
        finding_fail(out, "%d event triggers, which only a superuser makes at the target: %s", names.count,
                     names_text(&names));
    } else {
        finding_pass(out, "%d event triggers are made last: %s", names.count, names_text(&names));
    }
    names_free(&names);
    PQclear(rows);
    return true;
}

/* ---- rows that come with no table ---- */

static bool has_own_rows(Check *c, const PGresult *rows, int row, bool *out, Error *e) {
    char answer[8];
    Writer sql = writer_new(1 << 16);
    writer_text(&sql, "SELECT EXISTS (SELECT FROM ");
    pg_write_table(&sql, c->source, pg_cell(rows, row, 0), pg_cell(rows, row, 1));
    writer_format(&sql, " %s)", pg_cell(rows, row, 3));
    bool ok = pg_value(c->source, writer_string(&sql), 0, NULL, answer, sizeof answer, e);
    *out = ok && answer[0] == 't';
    writer_free(&sql);
    return ok;
}

bool check_extension_rows(Check *c, Finding *out, Error *e) {
    PGresult *rows = pg_query(c->source, EXTENSION_TABLES_SQL, 0, NULL, e);
    bool ok = rows != NULL;
    out->left_out = ok && PQntuples(rows) == 0;
    Names names = names_new();
    for (int row = 0; ok && row < PQntuples(rows); row++) {
        bool own = false;
        ok = has_own_rows(c, rows, row, &own, e);
        if (own)
            names_add(&names, pg_cell(rows, row, 1));
    }
    if (ok && names.count > 0) {
        finding_fix(out, "carry them over by hand (COPY … TO, COPY … FROM) when the users move");
        finding_alert(out, "rows of %d tables that belong to extensions are neither copied nor streamed: %s",
                      names.count, names_text(&names));
    } else if (ok) {
        finding_pass(out, "extensions hold no rows of the users");
    }
    names_free(&names);
    PQclear(rows);
    return ok;
}

/* ---- what would act on applied rows ---- */

/* By its names on the side that the rows were read from. */
static const Table *table_of(const Check *c, bool source, const PGresult *rows, int row) {
    const char *schema = pg_cell(rows, row, 0), *name = pg_cell(rows, row, 1);
    return source ? selection_find(c->selection, schema, name)
                  : selection_find_target(c->selection, schema, name);
}

static Names firing_names(Check *c, const PGresult *rows, Finding *out) {
    Names names = names_new();
    for (int row = 0; row < PQntuples(rows); row++) {
        const Table *t = table_of(c, c->cfg->phases.schema, rows, row);
        if (t == NULL)
            continue;
        Writer one = writer_new(NAME_MAX_BYTES), sql = writer_new(NAME_MAX_BYTES);
        writer_format(&one, "%s of %s", pg_cell(rows, row, 2), t->target_full_name);
        writer_text(&sql, "ALTER TABLE ");
        pg_write_table(&sql, c->target, t->target_schema, t->target_name);
        writer_format(&sql, " %s %s ", pg_cell(rows, row, 4), pg_cell(rows, row, 3));
        pg_write_name(&sql, c->target, pg_cell(rows, row, 2));
        if (!c->cfg->phases.schema && !names_full(&names))
            finding_fix(out, "%s; -- at the target, until the users move", writer_string(&sql));
        names_add(&names, writer_string(&one));
        writer_free(&one);
        writer_free(&sql);
    }
    return names;
}

/* Tables that walferry makes get them in a still state; tables that are there already are the user's. */
bool check_always_triggers(Check *c, Finding *out, Error *e) {
    bool made = c->cfg->phases.schema;
    PGresult *rows = still_read(made ? c->source : c->target, e);
    if (rows == NULL)
        return false;
    Names names = firing_names(c, rows, out);
    if (names.count == 0) {
        finding_pass(out, "no trigger or rule acts on applied rows");
    } else if (made) {
        finding_fix(out, "their states are set when the users move");
        finding_alert(
            out,
            "%d triggers and rules would act on applied rows (ENABLE ALWAYS, ENABLE REPLICA) and are "
            "kept still at the target until the users move: %s",
            names.count, names_text(&names));
    } else {
        finding_alert(out, "%d triggers and rules at the target act on applied rows: %s", names.count,
                      names_text(&names));
    }
    names_free(&names);
    PQclear(rows);
    return true;
}

/* Policies that hold for the owner, too, would hide or refuse what is applied. */
bool check_target_row_security(Check *c, Finding *out, Error *e) {
    Rights ours;
    bool made = c->cfg->phases.schema && !c->resumed;
    if (!rights_read(c, &ours, e))
        return false;
    if (ours.super || ours.bypass)
        return finding_pass(out, "row security does not hold for user \"%s\"",
                            pg_cell(c->target_facts, 0, TARGET_USER));
    PGresult *rows =
        made ? pg_query(c->source, FORCED_SQL, 0, NULL, e) : pg_query(c->target, ACTIVE_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    Names names = names_new();
    for (int row = 0; row < PQntuples(rows); row++) {
        const Table *t = table_of(c, made, rows, row);
        if (t != NULL)
            names_add(&names, t->target_full_name);
    }
    if (names.count > 0) {
        role_fix(c, out, "ALTER ROLE ", pg_cell(c->target_facts, 0, TARGET_USER), " BYPASSRLS;");
        finding_fail(out, "row security of %d tables would hold for the target's account: %s", names.count,
                     names_text(&names));
    } else {
        finding_pass(out, "row security of no table holds for the target's account");
    }
    names_free(&names);
    PQclear(rows);
    return true;
}
