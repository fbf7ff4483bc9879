#include "job/check_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decoder/slot.h"
#include "job/check_text.h"
#include "job/units.h"
#include "snapshot/dump.h"

/* In the order of enum SourceFact; $1 and $2 are the job's slots. The libraries come from
 * pg_settings, which hides from ordinary users what current_setting() refuses to show. */
static const char FACTS_SQL[] =
    "SELECT current_user, current_database(), pg_postmaster_start_time(),"
    "  (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()),"
    "  pg_is_in_recovery(), current_setting('wal_level'),"
    "  (SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries'),"
    /* Amazon's servers keep the attribute for themselves and give a role instead. */
    "  (SELECT r.rolreplication OR r.rolsuper OR EXISTS (SELECT FROM pg_roles g"
    "     WHERE g.rolname = 'rds_replication' AND pg_has_role(g.oid, 'USAGE'))"
    "   FROM pg_roles r WHERE r.rolname = current_user),"
    "  current_setting('max_replication_slots'),"
    "  (SELECT count(*) FROM pg_replication_slots WHERE slot_name NOT IN ($1, $2)),"
    "  EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1),"
    "  current_setting('max_wal_senders'),"
    "  (SELECT count(*) FROM pg_stat_replication r WHERE NOT EXISTS (SELECT FROM pg_replication_slots s"
    "     WHERE s.active_pid = r.pid AND s.slot_name IN ($1, $2))),"
    "  current_setting('synchronous_standby_names'),"
    "  has_database_privilege(current_database(), 'CREATE'),"
    "  (SELECT count(*) FROM (SELECT FROM pg_largeobject_metadata LIMIT 10000) o)";

/* The standbys that really are ones: not logical readers, nor walferry's. */
static const char STANDBYS_SQL[] =
    "SELECT DISTINCT r.application_name FROM pg_stat_replication r"
    " WHERE r.application_name <> '' AND r.application_name NOT LIKE 'walferry\\_%'"
    "   AND NOT EXISTS (SELECT FROM pg_replication_slots s"
    "                   WHERE s.active_pid = r.pid AND s.slot_type = 'logical')"
    " ORDER BY 1 LIMIT 20";

/* A slot waits for transactions that have a number. Their locks are shown to everybody, but how old others' are only
 * to members of pg_read_all_stats. */
static const char LONG_TRANSACTIONS_SQL[] =
    "SELECT a.pid, a.usename, a.datname, a.state,"
    "  floor(extract(epoch FROM clock_timestamp() - a.xact_start))::bigint * 1000"
    " FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid()"
    "   AND coalesce(a.xact_start < clock_timestamp() - interval '60 s', true)"
    "   AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'transactionid'"
    "               AND l.granted AND l.mode = 'ExclusiveLock')"
    " ORDER BY a.xact_start";
static const char PREPARED_SQL[] =
    "SELECT p.gid, p.database, floor(extract(epoch FROM clock_timestamp() - p.prepared))::bigint * 1000"
    " FROM pg_prepared_xacts p ORDER BY p.prepared";

static const char CLOSED_LARGE_OBJECTS_SQL[] =
    "SELECT count(*) FROM pg_largeobject_metadata m WHERE NOT pg_has_role(m.lomowner, 'USAGE')"
    "   AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'"
    "                   AND (a.grantee = 0 OR pg_has_role(nullif(a.grantee, 0), 'USAGE')))";

static const char PLACES_SQL[] = "SELECT pg_catalog.current_setting('max_prepared_transactions')";

/* NULL on a server that does not know it. */
static const char IDLE_TIMEOUT_SQL[] = "SELECT current_setting('idle_replication_slot_timeout', true)";

enum { NAME_SIZE = 512, STANDBYS_MAX = 20, SERVER_15 = 150000 };

static const char *fact(const Check *c, enum SourceFact which) {
    return pg_cell(c->source_facts, 0, (int)which);
}

static int64_t fact_int(const Check *c, enum SourceFact which) {
    return pg_cell_int(c->source_facts, 0, (int)which);
}

static bool fact_bool(const Check *c, enum SourceFact which) {
    return pg_cell_bool(c->source_facts, 0, (int)which);
}

bool check_source_connection(Check *c, Finding *out, Error *e) {
    char where[NAME_SIZE], version[16];
    const char *const params[] = {c->cfg->slot, c->cfg->load_slot};
    Pg *source = check_open(c, c->cfg->source.dsn, "source", e);
    if (source == NULL)
        return false;
    c->source_facts = pg_query(source, FACTS_SQL, 2, params, e);
    c->selection = c->source_facts == NULL ? NULL : selection_load(source, c->cfg, e);
    if (c->selection == NULL || !pg_describe(c->cfg->source.dsn, where, sizeof where, e)) {
        pg_close(source);
        return false;
    }
    c->source = source;
    return finding_pass(out, "%s: PostgreSQL %s, %d tables", where, version_text(source->version, version),
                        c->selection->count);
}

bool check_source_version(Check *c, Finding *out, Error *e) {
    (void)e;
    char version[16];
    const char *why;
    version_text(c->source->version, version);
    CheckState state = source_version_judge(c->source->version, &why);
    if (state == CHECK_PASSED)
        return finding_pass(out, "PostgreSQL %s", version);
    if (state == CHECK_FAILED) {
        finding_fix(out, "upgrade the source to PostgreSQL 12 or newer");
        return finding_fail(out, "PostgreSQL %s, %s", version, why);
    }
    if (strncmp(why, "which is newer", 14) == 0)
        finding_fix(out, "use a newer walferry, or try this job with a copy of the data first");
    else
        finding_fix(out, "install the newest minor release of PostgreSQL %d on the source",
                    c->source->version / 10000);
    return finding_alert(out, "PostgreSQL %s, %s", version, why);
}

bool check_source_primary(Check *c, Finding *out, Error *e) {
    (void)e;
    if (!fact_bool(c, SOURCE_RECOVERY))
        return finding_pass(out, "the source is a primary");
    finding_fix(out, "name the primary in source.dsn, or several hosts with target_session_attrs=read-write");
    return finding_fail(
        out, "the source is a hot standby: publication, heartbeat and slot are made on the primary");
}

bool check_wal_level(Check *c, Finding *out, Error *e) {
    (void)e;
    const char *level = fact(c, SOURCE_WAL_LEVEL);
    if (strcmp(level, "logical") == 0)
        return finding_pass(out, "wal_level = logical");
    finding_fix(out, "ALTER SYSTEM SET wal_level = logical; -- then restart the source");
    return finding_fail(out, "wal_level = %s; a logical slot needs wal_level = logical", level);
}

/* Each element is a literal of its own: the server takes one literal for one library, whatever commas it has. */
static void libraries_fix(const Check *c, Finding *out, const char *libraries) {
    Writer list = writer_new(1 << 16);
    char library[NAME_SIZE];
    while (setting_next(&libraries, library, sizeof library)) {
        pg_write_literal(&list, c->source, library);
        writer_text(&list, ", ");
    }
    finding_fix(out, "ALTER SYSTEM SET output_plugin_libraries = %s'pgoutput'; SELECT pg_reload_conf();",
                writer_string(&list));
    writer_free(&list);
}

/* Trap C10. */
bool check_plugin_libraries(Check *c, Finding *out, Error *e) {
    (void)e;
    const char *libraries = fact(c, SOURCE_PLUGIN_LIBRARIES);
    out->left_out = pg_cell_null(c->source_facts, 0, SOURCE_PLUGIN_LIBRARIES);
    if (out->left_out || setting_has(libraries, "pgoutput"))
        return finding_pass(out, "output_plugin_libraries = %s", libraries);
    libraries_fix(c, out, libraries);
    return finding_fail(
        out, "output_plugin_libraries = '%s' leaves out pgoutput: the server would refuse the slot",
        libraries);
}

static void user_fix(const Check *c, Finding *out, const char *before, const char *behind) {
    Writer name = writer_new(1 << 10);
    pg_write_name(&name, c->source, fact(c, SOURCE_USER));
    finding_fix(out, "%s%s%s", before, writer_string(&name), behind);
    writer_free(&name);
}

bool check_replication_role(Check *c, Finding *out, Error *e) {
    (void)e;
    if (fact_bool(c, SOURCE_REPLICATION))
        return finding_pass(out, "user \"%s\" may replicate", fact(c, SOURCE_USER));
    user_fix(c, out, "ALTER ROLE ", " REPLICATION;");
    return finding_fail(out, "user \"%s\" has not the attribute REPLICATION", fact(c, SOURCE_USER));
}

/* How many more of each the job needs: its slot if it is still to be made, and a temporary one for a load that has
 * to begin again (trap A2). */
bool check_replication_slots(Check *c, Finding *out, Error *e) {
    (void)e;
    int64_t most = fact_int(c, SOURCE_SLOTS_MAX), used = fact_int(c, SOURCE_SLOTS_USED);
    int64_t needed = c->loaded ? 1 : 2; /* our own slot is not among the used ones */
    if (c->resumed && !fact_bool(c, SOURCE_SLOT_OURS))
        needed--; /* it is never made again */
    if (most - used >= needed)
        return finding_pass(out, "%lld of %lld replication slots are left for the job, which needs %lld",
                            (long long)(most - used), (long long)most, (long long)needed);
    finding_fix(out, "ALTER SYSTEM SET max_replication_slots = %lld; -- then restart the source",
                (long long)(used + needed));
    return finding_fail(out, "%lld of %lld replication slots are left for the job, which needs %lld",
                        (long long)(most - used), (long long)most, (long long)needed);
}

bool check_wal_senders(Check *c, Finding *out, Error *e) {
    (void)e;
    int64_t most = fact_int(c, SOURCE_SENDERS_MAX), used = fact_int(c, SOURCE_SENDERS_USED);
    int64_t needed = c->loaded ? 1 : 2;
    if (most - used >= needed)
        return finding_pass(out, "%lld of %lld WAL senders are left for the job, which needs %lld",
                            (long long)(most - used), (long long)most, (long long)needed);
    finding_fix(out, "ALTER SYSTEM SET max_wal_senders = %lld; -- then restart the source",
                (long long)(used + needed));
    return finding_fail(out, "%lld of %lld WAL senders are left for the job, which needs %lld",
                        (long long)(most - used), (long long)most, (long long)needed);
}

/* Trap A14: the users' commits would wait for us. */
bool check_synchronous_standby(Check *c, Finding *out, Error *e) {
    const char *names = fact(c, SOURCE_STANDBY_NAMES);
    char application[64] = "walferry_";
    strncat(application, c->cfg->name, sizeof application - strlen(application) - 1);
    if (!standbys_match(names, application))
        return finding_pass(out, "synchronous_standby_names = '%s'", names);
    PGresult *rows = pg_query(c->source, STANDBYS_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    const char *standbys[STANDBYS_MAX];
    int count = 0;
    for (; count < PQntuples(rows) && count < STANDBYS_MAX; count++)
        standbys[count] = pg_cell(rows, count, 0);
    Writer value = writer_new(1 << 16), literal = writer_new(1 << 16);
    standbys_write(&value, names, application, standbys, count);
    pg_write_literal(&literal, c->source, writer_string(&value));
    finding_fix(out, "ALTER SYSTEM SET synchronous_standby_names = %s; SELECT pg_reload_conf();",
                writer_string(&literal));
    if (count == 0 && setting_has(names, "*"))
        finding_fix(out,
                    "-- no standby is connected, or user \"%s\" may not see it: put the names of yours there",
                    fact(c, SOURCE_USER));
    writer_free(&value);
    writer_free(&literal);
    PQclear(rows);
    return finding_fail(
        out,
        "synchronous_standby_names = '%s' takes \"%s\" for a standby: the users' commits would "
        "wait for the job",
        names, application);
}

bool check_large_objects(Check *c, Finding *out, Error *e) {
    char closed[24];
    int64_t count = fact_int(c, SOURCE_LARGE_OBJECTS);
    const char *more = count == CHECK_COUNT_MAX ? " or more" : "";
    if (count == 0)
        return finding_pass(out, "no large objects");
    if (!c->cfg->phases.full) {
        finding_fix(out, "carry them over by hand (lo_export, lo_import) before the users move");
        return finding_alert(out, "%lld%s large objects, which are neither copied nor streamed",
                             (long long)count, more);
    }
    if (!pg_value(c->source, CLOSED_LARGE_OBJECTS_SQL, 0, NULL, closed, sizeof closed, e))
        return false;
    if (strcmp(closed, "0") != 0) {
        finding_fix(out, "GRANT SELECT ON LARGE OBJECT … to user \"%s\", or their owners' roles",
                    fact(c, SOURCE_USER));
        return finding_fail(out, "%s of %lld%s large objects cannot be read", closed, (long long)count, more);
    }
    if (!c->cfg->phases.incremental)
        return finding_pass(out, "%lld%s large objects are copied with the load", (long long)count, more);
    finding_fix(out, "change none until the users move, or keep such values in bytea columns");
    return finding_alert(
        out,
        "%lld%s large objects are copied with the load, but what changes in them afterwards is not "
        "in the stream",
        (long long)count, more);
}

static void long_transaction_add(Names *names, const PGresult *rows, int row, Finding *out) {
    char one[NAME_SIZE];
    snprintf(one, sizeof one, "PID %s (user \"%s\", database \"%s\", %s, open for %s)", pg_cell(rows, row, 0),
             pg_cell(rows, row, 1), pg_cell(rows, row, 2), pg_cell(rows, row, 3),
             UNIT_CLOCK(pg_cell_int(rows, row, 4)));
    if (!names_full(names))
        finding_fix(out, "SELECT pg_terminate_backend(%s); -- or wait for its end", pg_cell(rows, row, 0));
    names_add(names, one);
}

bool check_long_transactions(Check *c, Finding *out, Error *e) {
    PGresult *rows = pg_query(c->source, LONG_TRANSACTIONS_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    Names names = names_new();
    int hidden = 0;
    for (int row = 0; row < PQntuples(rows); row++)
        if (pg_cell_null(rows, row, 4))
            hidden++;
        else
            long_transaction_add(&names, rows, row, out);
    if (names.count > 0)
        finding_alert(out, "%d transactions open for more than 60 s, for whose end the slot has to wait: %s",
                      names.count, names_text(&names));
    else if (hidden == 0)
        finding_pass(out, "no writing transaction is open for more than 60 s");
    if (hidden > 0)
        finding_pass(out,
                     "%d writing transactions of others, whose age only members of pg_read_all_stats may see",
                     hidden);
    names_free(&names);
    PQclear(rows);
    return true;
}

static void prepared_fix(const Check *c, Finding *out, const PGresult *rows, int row) {
    Writer gid = writer_new(1 << 12);
    pg_write_literal(&gid, c->source, pg_cell(rows, row, 0));
    finding_fix(out, "COMMIT PREPARED %s; -- or ROLLBACK PREPARED, in database \"%s\"", writer_string(&gid),
                pg_cell(rows, row, 1));
    writer_free(&gid);
}

bool check_prepared_transactions(Check *c, Finding *out, Error *e) {
    PGresult *rows = pg_query(c->source, PREPARED_SQL, 0, NULL, e);
    if (rows == NULL)
        return false;
    Names names = names_new();
    for (int row = 0; row < PQntuples(rows); row++) {
        char one[NAME_SIZE];
        snprintf(one, sizeof one, "\"%s\" (database \"%s\", prepared %s ago)", pg_cell(rows, row, 0),
                 pg_cell(rows, row, 1), UNIT_CLOCK(pg_cell_int(rows, row, 2)));
        if (!names_full(&names))
            prepared_fix(c, out, rows, row);
        names_add(&names, one);
    }
    if (names.count == 0)
        finding_pass(out, "no prepared transactions");
    else
        finding_alert(out, "%d prepared transactions, for whose end the slot has to wait: %s", names.count,
                      names_text(&names));
    names_free(&names);
    PQclear(rows);
    return true;
}

bool check_two_phase(Check *c, Finding *out, Error *e) {
    char needed[24], places[24];
    out->left_out = !c->cfg->source.two_phase;
    if (out->left_out)
        return true;
    if (c->source->version < SERVER_15) {
        finding_fix(out,
                    "leave source.two_phase out: a prepared transaction then arrives when it is committed");
        return finding_fail(out, "pgoutput sends prepared transactions from PostgreSQL 15 on");
    }
    if (!pg_value(c->source, PLACES_SQL, 0, NULL, needed, sizeof needed, e) ||
        !pg_value(c->target, PLACES_SQL, 0, NULL, places, sizeof places, e))
        return false;
    int more = atoi(needed) - atoi(places);
    if (more <= 0 && strcmp(places, "0") != 0)
        return finding_pass(out, "max_prepared_transactions = %s at the target", places);
    finding_fix(out, "ALTER SYSTEM SET max_prepared_transactions = %s; -- at the target, and restart it",
                strcmp(needed, "0") == 0 ? "100" : needed);
    if (strcmp(places, "0") == 0)
        return finding_fail(out, "max_prepared_transactions = 0 at the target");
    return finding_alert(out,
                         "max_prepared_transactions = %s at the target, %s at the source: the job stops when"
                         " more than %s are open at once",
                         places, needed, places);
}

bool check_slot_name(Check *c, Finding *out, Error *e) {
    (void)e;
    const char *slot = c->cfg->slot;
    if (!fact_bool(c, SOURCE_SLOT_OURS))
        return finding_pass(out, "slot \"%s\" is still to be made", slot);
    if (c->record.exists)
        return finding_pass(out, "slot \"%s\" is left over from a start of this job and is made again", slot);
    out->lost = true;
    finding_fix(
        out,
        "it may belong to a job with another target: choose another name, or run walferry cleanup if the "
        "slot is a left-over");
    return finding_fail(out, "slot \"%s\" exists on the source, but the target knows no job \"%s\"", slot,
                        c->cfg->name);
}

/* A lost slot is no Failed item: `run` finds it, too, and ends with exit code 3, not 2. */
bool check_slot(Check *c, Finding *out, Error *e) {
    SlotView slot;
    const char *name = c->cfg->slot;
    if (!slot_look(c->source, name, &slot, e))
        return false;
    bool lost = strcmp(slot.wal_status, "lost") == 0;
    if (slot.exists && slot.logical && strcmp(slot.plugin, "pgoutput") == 0 && !lost)
        return finding_pass(out, "slot \"%s\" keeps %s of WAL", name, UNIT_BYTES(slot.retained_bytes));
    finding_fix(
        out, "run walferry cleanup and start with a new load, or bring back the source server that this job "
             "began with");
    return finding_alert(out, "slot \"%s\" %s: run will end with exit code 3", name,
                         !slot.exists ? "does not exist on the source any more"
                         : lost       ? "has lost its WAL"
                                      : "is no pgoutput slot: somebody made it anew");
}

/* F31: a job that is stopped for that long has lost its slot. */
bool check_slot_timeout(Check *c, Finding *out, Error *e) {
    char timeout[32];
    if (!pg_value(c->source, IDLE_TIMEOUT_SQL, 0, NULL, timeout, sizeof timeout, e))
        return false;
    out->left_out = timeout[0] == '\0';
    if (out->left_out || strcmp(timeout, "0") == 0)
        return finding_pass(out, "idle_replication_slot_timeout = 0");
    finding_fix(out, "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();");
    return finding_alert(out,
                         "idle_replication_slot_timeout = %s: when the job is stopped or cut off for longer, "
                         "the source gives its slot up and the job has to begin with a new load",
                         timeout);
}

bool check_pg_dump(Check *c, Finding *out, Error *e) {
    DumpTool tool;
    int target_version = c->target == NULL ? c->source->version : c->target->version;
    return dump_choose(c->cfg, c->source->version, target_version, &tool, e) &&
           finding_pass(out, "%s, version %d", tool.pg_dump, tool.version);
}
