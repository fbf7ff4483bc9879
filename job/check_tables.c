#include "job/check_tables.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "decoder/ddl_trigger.h"
#include "decoder/heartbeat.h"
#include "decoder/publication.h"
#include "job/check_code.h"
#include "job/check_text.h"
#include "snapshot/dump.h"

static const char OWNERS_SQL[] =
    "SELECT o.rolname, o.rolsuper FROM pg_roles o WHERE o.oid IN"
    " (SELECT c.relowner FROM pg_class c WHERE c.oid = ANY ($1::oid[])) ORDER BY 1 LIMIT 20";
static const char CHANGED_SQL[] =
    "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.oid = ANY ($1::oid[])"
    "   AND pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid) > 0 ORDER BY 1";
static const char FILTERED_SQL[] =
    "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.oid = ANY ($1::oid[]) AND row_security_active(c.oid) ORDER BY 1";
/* What a publication of the user's sends; whether it takes in tables that are made later, and sends leaves as their
 * roots. */
static const char SENT_SQL[] =
    "SELECT g.relid FROM pg_publication p CROSS JOIN LATERAL pg_get_publication_tables(p.pubname::text) g"
    " WHERE p.pubname = $1 ORDER BY 1";
#define OPEN_SQL(schemas, root)                                                                              \
    "SELECT p.puballtables OR " schemas ", " root " FROM pg_publication p WHERE p.pubname = $1"
static const char OPEN_15_SQL[] =
    OPEN_SQL("EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid)", "p.pubviaroot");
static const char OPEN_13_SQL[] = OPEN_SQL("false", "p.pubviaroot");
static const char OPEN_12_SQL[] = OPEN_SQL("false", "false");
/* The heartbeat table: is it there, is its schema, may it be made. */
static const char BEAT_SQL[] =
    "SELECT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = $2), n.oid IS NOT "
    "NULL,"
    "  has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE')"
    " FROM (SELECT 1) one LEFT JOIN pg_namespace n ON n.nspname = $1";

enum { SQL_LIMIT = 1 << 24 };

/* ---- tables of one kind ---- */

typedef bool TablePick(const Check *c, const Table *t);

/* How many tables `is` picks; their names go to `names`, their OIDs as an array to `oids`; either may be NULL. */
static int tables_pick(const Check *c, TablePick *is, Names *names, Writer *oids) {
    int count = 0;
    if (oids != NULL)
        writer_text(oids, "{");
    for (int n = 0; n < c->selection->count; n++) {
        const Table *t = &c->selection->tables[n];
        if (!is(c, t))
            continue;
        if (names != NULL)
            names_add(names, t->full_name);
        if (oids != NULL)
            writer_format(oids, "%s%u", count == 0 ? "" : ",", t->oid);
        count++;
    }
    if (oids != NULL)
        writer_text(oids, "}");
    return count;
}

/* The answer to a query about the tables that `is` picks. */
static PGresult *tables_ask(Check *c, TablePick *is, const char *sql, Error *e) {
    Writer oids = writer_new(SQL_LIMIT);
    tables_pick(c, is, NULL, &oids);
    const char *const params[] = {writer_string(&oids)};
    PGresult *rows = pg_query(c->source, sql, 1, params, e);
    writer_free(&oids);
    return rows;
}

static Names rows_names(const PGresult *rows) {
    Names names = names_new();
    for (int row = 0; row < PQntuples(rows); row++)
        names_add(&names, pg_cell(rows, row, 0));
    return names;
}

static bool is_unlogged(const Check *c, const Table *t) {
    (void)c;
    return t->unlogged;
}

static bool is_unreadable(const Check *c, const Table *t) {
    (void)c;
    return !t->readable;
}

/* Nothing but the source's table has what an UPDATE leaves as it is. */
static bool is_read_later(const Check *c, const Table *t) {
    (void)c;
    bool large = false;
    for (uint16_t column = 0; column < t->column_count; column++)
        large = large || (t->columns[column].large && t->columns[column].taken);
    return large && t->identity == TABLE_IDENTITY_KEY && !t->unlogged;
}

static bool is_unreadable_later(const Check *c, const Table *t) {
    return is_read_later(c, t) && !t->readable;
}

static bool is_row_secured(const Check *c, const Table *t) {
    (void)c;
    return t->row_security;
}

static bool is_row_secured_later(const Check *c, const Table *t) {
    return is_read_later(c, t) && t->row_security;
}

/* Published for INSERT and TRUNCATE only, because nothing else identifies its rows. */
static bool is_insert_only(const Check *c, const Table *t) {
    return t->insert_only && !t->unlogged && (c->resumed || t->identity_candidate == NULL);
}

/* The birth of the job gives it an identity: `identity: full`, or an index that could be one. */
static bool is_to_be_identified(const Check *c, const Table *t) {
    return t->identity == TABLE_IDENTITY_NONE && !t->unlogged && !c->resumed &&
           c->cfg->identity != IDENTITY_FAIL && !is_insert_only(c, t);
}

static bool is_without_identity(const Check *c, const Table *t) {
    return t->identity == TABLE_IDENTITY_NONE && !t->unlogged && !is_insert_only(c, t) &&
           !is_to_be_identified(c, t);
}

static bool publication_is_ours(const Check *c) {
    return strcmp(c->cfg->source.publication, c->cfg->slot) == 0;
}

/* Tables that a publication of ours holds, or whose identity we set: both take the owner's rights. */
static bool is_foreign(const Check *c, const Table *t) {
    bool touched = publication_is_ours(c) || is_insert_only(c, t) || is_to_be_identified(c, t);
    return !t->unlogged && !t->owned && touched;
}

/* FULL already, or from the birth of the job on, where that would stop the users (trap A1). */
static bool is_stopped_by_full(const Check *c, const Table *t) {
    bool full = t->identity == TABLE_IDENTITY_FULL && publication_is_ours(c);
    bool becomes_full = is_to_be_identified(c, t) && t->identity_candidate == NULL;
    return !t->unlogged && !c->resumed && (full || becomes_full) && publication_forbids_full(c->source, t);
}

/* A line for each of the first 20; by the index that could be the identity, where there is one. */
static void identity_fix(const Check *c, Finding *out, TablePick *is) {
    int written = 0;
    for (int n = 0; n < c->selection->count && written < CHECK_NAMES_MAX; n++) {
        const Table *t = &c->selection->tables[n];
        if (!is(c, t))
            continue;
        Writer sql = writer_new(1 << 12);
        writer_text(&sql, "ALTER TABLE ");
        pg_write_table(&sql, c->source, t->schema, t->name);
        writer_text(&sql, " REPLICA IDENTITY ");
        if (t->identity_candidate != NULL) {
            writer_text(&sql, "USING INDEX ");
            pg_write_name(&sql, c->source, t->identity_candidate);
        } else {
            writer_text(&sql, "FULL");
        }
        finding_fix(out, "%s;", writer_string(&sql));
        writer_free(&sql);
        written++;
    }
}

/* ---- publication ---- */

static void user_write(const Check *c, Writer *out) {
    pg_write_name(out, c->source, pg_cell(c->source_facts, 0, SOURCE_USER));
}

static void create_fix(const Check *c, Finding *out) {
    Writer sql = writer_new(1 << 10);
    writer_text(&sql, "GRANT CREATE ON DATABASE ");
    pg_write_name(&sql, c->source, pg_cell(c->source_facts, 0, SOURCE_DATABASE));
    writer_text(&sql, " TO ");
    user_write(c, &sql);
    finding_fix(out, "%s;", writer_string(&sql));
    writer_free(&sql);
}

/* To be a member of the owner's role is enough; but nobody should become a member of a superuser's. */
static bool owners_fix(Check *c, Finding *out, Error *e) {
    PGresult *rows = tables_ask(c, is_foreign, OWNERS_SQL, e);
    for (int row = 0; rows != NULL && row < PQntuples(rows); row++) {
        if (pg_cell_bool(rows, row, 1)) {
            finding_fix(
                out,
                "-- owner \"%s\" is a superuser: let it make a publication of the job's tables, and name "
                "that one in source.publication",
                pg_cell(rows, row, 0));
            continue;
        }
        Writer sql = writer_new(1 << 10);
        writer_text(&sql, "GRANT ");
        pg_write_name(&sql, c->source, pg_cell(rows, row, 0));
        writer_text(&sql, " TO ");
        user_write(c, &sql);
        finding_fix(out, "%s;", writer_string(&sql));
        writer_free(&sql);
    }
    PQclear(rows);
    return rows != NULL;
}

/* What making our own publications takes. */
static bool rights_look(Check *c, Finding *out, Error *e) {
    bool makes_one = publication_is_ours(c) || tables_pick(c, is_insert_only, NULL, NULL) > 0;
    if (makes_one && !pg_cell_bool(c->source_facts, 0, SOURCE_CREATE)) {
        create_fix(c, out);
        finding_fail(out, "no right to make a publication in database \"%s\"",
                     pg_cell(c->source_facts, 0, SOURCE_DATABASE));
    }
    Names names = names_new();
    int count = tables_pick(c, is_foreign, &names, NULL);
    if (count > 0)
        finding_fail(out, "%d of %d tables belong to others, and only an owner may publish them: %s", count,
                     c->selection->count, names_text(&names));
    names_free(&names);
    return count == 0 || owners_fix(c, out, e);
}

static int compare_oids(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* Names the tables that a publication of the user's leaves out; the statement that adds the first 20. */
static void missing_look(const Check *c, const PGresult *sent, Finding *out) {
    size_t count = (size_t)PQntuples(sent);
    uint32_t *oids = memory_array(count + 1, sizeof *oids);
    for (size_t row = 0; row < count; row++)
        oids[row] = (uint32_t)pg_cell_int(sent, (int)row, 0);
    Names names = names_new();
    Writer sql = writer_new(1 << 16);
    for (int n = 0; n < c->selection->count; n++) {
        const Table *t = &c->selection->tables[n];
        if (t->unlogged || is_insert_only(c, t) ||
            bsearch(&t->oid, oids, count, sizeof *oids, compare_oids) != NULL)
            continue;
        if (!names_full(&names)) {
            writer_text(&sql, names.count == 0 ? " ADD TABLE ONLY " : ", ONLY ");
            pg_write_table(&sql, c->source, t->schema, t->name);
        }
        names_add(&names, t->full_name);
    }
    if (names.count > 0) {
        Writer name = writer_new(1 << 10);
        pg_write_name(&name, c->source, c->cfg->source.publication);
        finding_fix(out, "ALTER PUBLICATION %s%s;", writer_string(&name), writer_string(&sql));
        writer_free(&name);
        finding_fail(out, "publication \"%s\" leaves out %d of %d tables: %s", c->cfg->source.publication,
                     names.count, c->selection->count, names_text(&names));
    }
    names_free(&names);
    writer_free(&sql);
    free(oids);
}

/* What the form of the heartbeat depends on. */
typedef struct Beat {
    HeartbeatForm form;
    bool to_make, exists, schema_missing;
} Beat;

static bool beat_look(Check *c, Beat *out, Error *e) {
    const char *const params[] = {c->cfg->source.heartbeat_schema, c->cfg->source.heartbeat_table};
    *out = (Beat){0};
    if (!heartbeat_find(c->source, c->cfg, &out->form, e))
        return false;
    if (out->form == HEARTBEAT_TABLE || c->cfg->source.heartbeat_ms == 0)
        return true;
    PGresult *rows = pg_query(c->source, BEAT_SQL, 2, params, e);
    if (rows == NULL)
        return false;
    out->exists = pg_cell_bool(rows, 0, 0);
    out->schema_missing = !pg_cell_bool(rows, 0, 1);
    out->to_make = !c->resumed && !out->exists && pg_cell_bool(rows, 0, 2);
    if (out->to_make)
        out->form = HEARTBEAT_TABLE;
    PQclear(rows);
    return true;
}

/* A heartbeat table that is still to be made has to be sent, too. */
static bool named_takes_beat(Check *c, bool open, Finding *out, Error *e) {
    Beat beat;
    const Config *cfg = c->cfg;
    if (!beat_look(c, &beat, e))
        return false;
    if (!beat.to_make || open)
        return true;
    Writer table = writer_new(1 << 10), name = writer_new(1 << 10);
    pg_write_table(&table, c->source, cfg->source.heartbeat_schema, cfg->source.heartbeat_table);
    pg_write_name(&name, c->source, cfg->source.publication);
    finding_fix(out, "CREATE TABLE %s (job text PRIMARY KEY, beat bigint, at timestamptz);",
                writer_string(&table));
    finding_fix(out, "ALTER PUBLICATION %s ADD TABLE %s; -- or set source.heartbeat: 0", writer_string(&name),
                writer_string(&table));
    writer_free(&table);
    writer_free(&name);
    return finding_fail(
        out, "publication \"%s\" cannot take in the heartbeat table \"%s.%s\", which is still to be made",
        cfg->source.publication, cfg->source.heartbeat_schema, cfg->source.heartbeat_table);
}

static void options_fix(const Check *c, Finding *out) {
    Writer name = writer_new(1 << 10);
    pg_write_name(&name, c->source, c->cfg->source.publication);
    finding_fix(out, "ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate'%s);",
                writer_string(&name),
                c->source->version >= 130000 ? ", publish_via_partition_root = false" : "");
    writer_free(&name);
}

/* The decoder's own look at it: options, filters, column lists. Tables that have no identity yet, and ours for
 * INSERT, are still to come. */
static bool named_verify(Check *c, Finding *out, Error *e) {
    Selection ready = {.tables = memory_array((size_t)c->selection->count + 1, sizeof *ready.tables)};
    for (int n = 0; n < c->selection->count; n++)
        if (c->selection->tables[n].identity != TABLE_IDENTITY_NONE)
            ready.tables[ready.count++] = c->selection->tables[n];
    Error wrong = {0};
    bool whole = publication_verify(c->source, c->cfg, &ready, &wrong);
    free(ready.tables);
    if (whole)
        return true;
    *e = wrong;
    if (wrong.kind == ERR_RETRY)
        return false;
    if (wrong.hint[0] != '\0')
        options_fix(c, out);
    else
        finding_fix(out,
                    "publish these tables with the row filters and column lists of the job, and no others");
    return finding_fail(out, "%s", wrong.text);
}

/* One that the user named is only checked: it is there, whole, and sends every table. */
static bool named_look(Check *c, Finding *out, Error *e) {
    const char *name = c->cfg->source.publication;
    const char *sql = c->source->version >= 150000   ? OPEN_15_SQL
                      : c->source->version >= 130000 ? OPEN_13_SQL
                                                     : OPEN_12_SQL;
    PGresult *rows = pg_query(c->source, sql, 1, &name, e);
    if (rows == NULL)
        return false;
    bool exists = PQntuples(rows) == 1, open = exists && pg_cell_bool(rows, 0, 0);
    bool by_root = exists && pg_cell_bool(rows, 0, 1);
    PQclear(rows);
    if (!exists) {
        finding_fix(out, "leave out source.publication: then walferry makes one");
        return finding_fail(out, "publication \"%s\" does not exist", name);
    }
    if (by_root) {
        options_fix(c, out);
        return finding_fail(
            out, "publication \"%s\" sends partitions as their root: a TRUNCATE of one would be lost", name);
    }
    PGresult *sent = pg_query(c->source, SENT_SQL, 1, &name, e);
    if (sent == NULL)
        return false;
    missing_look(c, sent, out);
    PQclear(sent);
    return out->state == CHECK_FAILED || (named_verify(c, out, e) && named_takes_beat(c, open, out, e));
}

/* A job that goes on found its publication right when it was born: if it is wrong now, `run` ends with exit code 3,
 * which a Failed item would hide. */
static bool resumed_look(Check *c, Finding *out, Error *e) {
    Error wrong = {0};
    if (publication_verify(c->source, c->cfg, c->selection, &wrong))
        return finding_pass(out, "publication \"%s\" holds the job's tables", c->cfg->source.publication);
    if (wrong.kind == ERR_RETRY) {
        *e = wrong;
        return false;
    }
    finding_fix(out,
                "run walferry cleanup and start with a new load: what was not published meanwhile is lost");
    return finding_alert(out, "%s: run will end with exit code %d", wrong.text, error_exit_code(wrong.kind));
}

bool check_publication_rights(Check *c, Finding *out, Error *e) {
    if (c->resumed)
        return resumed_look(c, out, e);
    if (!rights_look(c, out, e) || (!publication_is_ours(c) && !named_look(c, out, e)))
        return false;
    if (out->state == CHECK_PASSED && publication_is_ours(c))
        finding_pass(out, "publication \"%s\" can be made for %d tables", c->cfg->source.publication,
                     c->selection->count);
    else if (out->state == CHECK_PASSED)
        finding_pass(out, "publication \"%s\" takes in %d tables", c->cfg->source.publication,
                     c->selection->count);
    return true;
}

/* ---- identities (trap A1) ---- */

static bool insert_only_look(Check *c, Finding *out, Error *e) {
    PGresult *rows = tables_ask(c, is_insert_only, CHANGED_SQL, e);
    if (rows == NULL)
        return false;
    Names names = rows_names(rows);
    if (names.count > 0) {
        identity_fix(c, out, is_insert_only);
        finding_alert(out,
                      "%d insert-only tables have seen UPDATE or DELETE, which will not be carried over: %s",
                      names.count, names_text(&names));
    }
    names_free(&names);
    PQclear(rows);
    return true;
}

bool check_replica_identity(Check *c, Finding *out, Error *e) {
    Names none = names_new(), made = names_new(), stopped = names_new();
    int insert_only = tables_pick(c, is_insert_only, NULL, NULL);
    if (tables_pick(c, is_without_identity, &none, NULL) > 0) {
        identity_fix(c, out, is_without_identity);
        finding_fix(out, "-- or give them primary keys, or set identity: full or insert-only");
        finding_fail(out, "%d of %d tables have no replica identity: %s", none.count, c->selection->count,
                     names_text(&none));
    }
    if (tables_pick(c, is_to_be_identified, &made, NULL) > 0) {
        identity_fix(c, out, is_to_be_identified);
        finding_alert(
            out,
            "%d tables get a replica identity from walferry; a change of one without a unique index "
            "compares whole rows at the target: %s",
            made.count, names_text(&made));
    }
    if (tables_pick(c, is_stopped_by_full, &stopped, NULL) > 0) {
        finding_fix(out, "give them a primary key and REPLICA IDENTITY DEFAULT, or leave them out");
        finding_fail(
            out,
            "%d tables with a generated column have, or would get, the replica identity FULL: from 18 "
            "on the source would refuse every UPDATE and DELETE of the users: %s",
            stopped.count, names_text(&stopped));
    }
    names_free(&none);
    names_free(&made);
    names_free(&stopped);
    if (insert_only > 0 && !insert_only_look(c, out, e))
        return false;
    if (out->state != CHECK_PASSED)
        return true;
    if (insert_only > 0)
        return finding_pass(out, "%d tables are insert-only, and have seen neither UPDATE nor DELETE",
                            insert_only);
    return finding_pass(out, "every logged table has one");
}

/* ---- reading ---- */

/* The tables themselves when they are few, else all of their schemas. */
static void select_fix(const Check *c, Finding *out, TablePick *is, bool few) {
    Writer user = writer_new(1 << 10), tables = writer_new(1 << 16);
    const char *schema = "";
    user_write(c, &user);
    for (int n = 0; n < c->selection->count; n++) {
        const Table *t = &c->selection->tables[n];
        if (!is(c, t))
            continue;
        writer_text(&tables, tables.len == 0 ? "" : ", ");
        pg_write_table(&tables, c->source, t->schema, t->name);
        if (strcmp(t->schema, schema) == 0)
            continue;
        schema = t->schema; /* they are in its order */
        Writer name = writer_new(1 << 10);
        pg_write_name(&name, c->source, schema);
        finding_fix(out, "GRANT USAGE ON SCHEMA %s TO %s;", writer_string(&name), writer_string(&user));
        if (!few)
            finding_fix(out, "GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s;", writer_string(&name),
                        writer_string(&user));
        writer_free(&name);
    }
    if (few)
        finding_fix(out, "GRANT SELECT ON %s TO %s;", writer_string(&tables), writer_string(&user));
    writer_free(&user);
    writer_free(&tables);
}

/* pg_dump locks what has no rows of its own, too: partitioned tables. */
static void locks_look(Check *c, const PGresult *rows, const Choice *choice, Finding *out) {
    Names names = names_new();
    Writer user = writer_new(1 << 10);
    uint32_t relations = choice_relations(choice);
    user_write(c, &user);
    for (int row = 0; row < PQntuples(rows); row++) {
        if (choice_leaves_out(choice, relations, (uint32_t)pg_cell_int(rows, row, UNREADABLE_OID)))
            continue;
        if (!names_full(&names))
            finding_fix(out, "GRANT SELECT ON %s TO %s;", pg_cell(rows, row, UNREADABLE_QUOTED),
                        writer_string(&user));
        names_add(&names, pg_cell(rows, row, UNREADABLE_SHOWN));
    }
    if (names.count > 0)
        finding_fail(out, "%d tables cannot be locked to read their definitions: %s", names.count,
                     names_text(&names));
    writer_free(&user);
    names_free(&names);
}

static bool dump_rights_look(Check *c, Finding *out, Error *e) {
    Choice *choice;
    PGresult *rows = check_choice(c, &choice, e) ? dump_unreadable(c->source, e) : NULL;
    if (rows != NULL)
        locks_look(c, rows, choice, out);
    bool ok = rows != NULL;
    choice_free(choice);
    PQclear(rows);
    return ok;
}

static void select_look(Check *c, Finding *out, TablePick *is) {
    Names names = names_new();
    if (tables_pick(c, is, &names, NULL) > 0) {
        select_fix(c, out, is, names.count <= CHECK_NAMES_MAX);
        finding_fail(out, "%d of %d tables cannot be read: %s", names.count, c->selection->count,
                     names_text(&names));
    }
    names_free(&names);
}

bool check_select_rights(Check *c, Finding *out, Error *e) {
    select_look(c, out, is_unreadable);
    if (out->state == CHECK_PASSED)
        finding_pass(out, "all %d tables can be read", c->selection->count);
    return out->state == CHECK_FAILED || !c->cfg->phases.schema || dump_rights_look(c, out, e);
}

static bool row_security_look(Check *c, Finding *out, TablePick *is, Error *e) {
    PGresult *rows = tables_ask(c, is, FILTERED_SQL, e);
    if (rows == NULL)
        return false;
    Names names = rows_names(rows);
    if (names.count > 0) {
        Writer user = writer_new(1 << 10);
        user_write(c, &user);
        finding_fix(out, "ALTER ROLE %s BYPASSRLS;", writer_string(&user));
        writer_free(&user);
        finding_fail(out, "row security would hide rows of %d tables: %s", names.count, names_text(&names));
    }
    names_free(&names);
    PQclear(rows);
    return true;
}

bool check_row_security(Check *c, Finding *out, Error *e) {
    if (tables_pick(c, is_row_secured, NULL, NULL) == 0)
        return finding_pass(out, "no table has row security");
    if (!row_security_look(c, out, is_row_secured, e))
        return false;
    return out->state != CHECK_PASSED || finding_pass(out, "row security hides nothing from user \"%s\"",
                                                      pg_cell(c->source_facts, 0, SOURCE_USER));
}

/* As the load reads them, but for as long as the job runs. */
bool check_kafka_toast(Check *c, Finding *out, Error *e) {
    out->left_out = c->cfg->kafka.brokers == NULL || c->cfg->kafka.toast != KAFKA_TOAST_COMPLETE;
    if (out->left_out)
        return true;
    select_look(c, out, is_unreadable_later);
    if (!row_security_look(c, out, is_row_secured_later, e))
        return false;
    return out->state != CHECK_PASSED ||
           finding_pass(out,
                        "large values of %d tables are read at the source when a change does not carry them",
                        tables_pick(c, is_read_later, NULL, NULL));
}

bool check_unlogged_tables(Check *c, Finding *out, Error *e) {
    (void)e;
    Names names = names_new();
    if (tables_pick(c, is_unlogged, &names, NULL) > 0) {
        for (int n = 0, written = 0; n < c->selection->count && written < CHECK_NAMES_MAX; n++) {
            const Table *t = &c->selection->tables[n];
            if (!t->unlogged)
                continue;
            Writer name = writer_new(1 << 10);
            pg_write_table(&name, c->source, t->schema, t->name);
            finding_fix(out, "ALTER TABLE %s SET LOGGED;", writer_string(&name));
            writer_free(&name);
            written++;
        }
        finding_alert(out, "%d unlogged tables are copied, but their changes are not streamed: %s",
                      names.count, names_text(&names));
    } else {
        finding_pass(out, "no unlogged tables");
    }
    names_free(&names);
    return true;
}

/* ---- heartbeat ---- */

static void beat_fix(const Check *c, Finding *out, const Beat *beat) {
    Writer schema = writer_new(1 << 10), user = writer_new(1 << 10);
    pg_write_name(&schema, c->source, c->cfg->source.heartbeat_schema);
    user_write(c, &user);
    if (beat->schema_missing)
        finding_fix(out, "CREATE SCHEMA %s AUTHORIZATION %s;", writer_string(&schema), writer_string(&user));
    else
        finding_fix(out, "GRANT USAGE, CREATE ON SCHEMA %s TO %s;", writer_string(&schema),
                    writer_string(&user));
    writer_free(&schema);
    writer_free(&user);
}

/* A job that goes on does not make its table again, but takes it when it is there. */
static bool beat_gone(const Check *c, Finding *out, const Beat *beat) {
    const Config *cfg = c->cfg;
    Writer table = writer_new(1 << 10), publication = writer_new(1 << 10);
    pg_write_table(&table, c->source, cfg->source.heartbeat_schema, cfg->source.heartbeat_table);
    pg_write_name(&publication, c->source, cfg->source.publication);
    finding_fix(out, "CREATE TABLE %s (job text PRIMARY KEY, beat bigint, at timestamptz);",
                writer_string(&table));
    finding_fix(out, "ALTER PUBLICATION %s ADD TABLE %s;", writer_string(&publication),
                writer_string(&table));
    writer_free(&table);
    writer_free(&publication);
    return finding_alert(out, "%s: table \"%s.%s\" is not there",
                         beat->form == HEARTBEAT_MESSAGE ? "a message in the WAL"
                                                         : "none, as the server is too old for messages",
                         cfg->source.heartbeat_schema, cfg->source.heartbeat_table);
}

bool check_heartbeat(Check *c, Finding *out, Error *e) {
    Beat beat;
    const char *schema = c->cfg->source.heartbeat_schema, *table = c->cfg->source.heartbeat_table;
    if (c->cfg->source.heartbeat_ms == 0)
        return finding_pass(out, "switched off: an idle source shows no lag");
    if (!beat_look(c, &beat, e))
        return false;
    if (beat.form == HEARTBEAT_TABLE)
        return finding_pass(out, "a row in table \"%s.%s\"%s", schema, table,
                            beat.to_make ? ", which is made" : "");
    if (c->resumed && !beat.exists)
        return beat_gone(c, out, &beat);
    beat_fix(c, out, &beat);
    if (beat.schema_missing)
        return finding_fail(out, "schema \"%s\" of the heartbeat table does not exist", schema);
    if (beat.form == HEARTBEAT_MESSAGE)
        return finding_alert(out,
                             "a message in the WAL, because user \"%s\" may not make or use table \"%s.%s\"",
                             pg_cell(c->source_facts, 0, SOURCE_USER), schema, table);
    return finding_fail(
        out,
        "none is possible: user \"%s\" may not make or use table \"%s.%s\", and the server is too "
        "old for messages",
        pg_cell(c->source_facts, 0, SOURCE_USER), schema, table);
}

bool check_ddl_trigger(Check *c, Finding *out, Error *e) {
    Error refused;
    (void)e;
    out->left_out = c->cfg->ddl != DDL_APPLY;
    if (out->left_out)
        return true;
    if (ddl_trigger_try(c->source, c->cfg, &refused))
        return finding_pass(out, "event triggers tell every change of a table");
    finding_fix(
        out,
        "let a superuser, or a role that may make event triggers and schemas, be the user of source.dsn; or "
        "set ddl: pause-table or stop");
    return finding_fail(out, "user \"%s\" cannot make the event triggers that \"ddl: apply\" needs: %s",
                        pg_cell(c->source_facts, 0, SOURCE_USER), refused.text);
}
