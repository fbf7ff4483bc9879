#include "decoder/ddl_trigger.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char SQL_BEGIN[] =
    "BEGIN READ WRITE; SET LOCAL lock_timeout = '2s'; SET LOCAL client_min_messages = error;"
    " SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('walferry schema'))";
static const char SQL_SCHEMA[] = "CREATE SCHEMA IF NOT EXISTS walferry";
static const char SQL_TRIGGERS[] = "SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtname = $1";
static const char SQL_FUNCTION[] =
    "SELECT p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
    " WHERE n.nspname = 'walferry' AND p.proname = $1";
static const char SQL_SCHEMA_USED[] = "SELECT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.refclassid "
                                      "= 'pg_catalog.pg_namespace'::regclass"
                                      " AND d.refobjid = pg_catalog.to_regnamespace('walferry')::oid)";
/* %1$s: the prefix as a literal. */
/* A message counts where its record ends, a row where its record begins: of a message in a subtransaction (as the block with
 * an exception is) and the next row the server could send either first. So another record follows each, which nobody
 * takes. */
static const char BODY[] =
    " RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $walferry$\n"
    "DECLARE m record;\n"
    "BEGIN\n"
    " IF tg_event = 'table_rewrite' THEN\n"
    "  PERFORM pg_logical_emit_message(true, %1$s,\n"
    "   json_build_object('rewrite', pg_event_trigger_table_rewrite_oid()::bigint)::text);\n"
    "  PERFORM pg_logical_emit_message(true, 'walferry.behind', '');\n"
    "  RETURN;\n"
    " END IF;\n"
    " IF tg_event = 'sql_drop' THEN\n"
    "  FOR m IN SELECT schema_name, object_name FROM pg_event_trigger_dropped_objects()\n"
    "   WHERE object_type = 'index' AND original AND NOT is_temporary LOOP\n"
    "   PERFORM pg_logical_emit_message(true, %1$s,\n"
    "    json_build_object('drop_index', json_build_array(m.schema_name, m.object_name))::text);\n"
    "  END LOOP;\n"
    "  PERFORM pg_logical_emit_message(true, 'walferry.behind', '');\n"
    "  RETURN;\n"
    " END IF;\n"
    " FOR m IN SELECT DISTINCT i.indrelid::bigint AS oid, pg_get_indexdef(i.indexrelid) AS text, n.nspname,\n"
    "  x.relname, c.relkind = 'p' AS parted\n"
    "  FROM pg_event_trigger_ddl_commands() k JOIN pg_index i ON i.indexrelid = k.objid\n"
    "  JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace\n"
    "  JOIN pg_class c ON c.oid = i.indrelid AND c.relpersistence <> 't'\n"
    "  WHERE k.classid = 'pg_class'::regclass AND k.command_tag = 'CREATE INDEX' LOOP\n"
    "  PERFORM pg_logical_emit_message(true, %1$s, json_build_object('index', m.oid, 'create', m.text,\n"
    "   'schema', m.nspname, 'name', m.relname, 'partitioned', m.parted)::text);\n"
    " END LOOP;\n"
    " FOR m IN WITH changed AS (SELECT DISTINCT k.objid FROM pg_event_trigger_ddl_commands() k\n"
    "   WHERE k.classid = 'pg_class'::regclass AND k.command_tag LIKE 'ALTER %%'),\n"
    "  tables AS (SELECT objid AS oid FROM changed UNION SELECT p.relid FROM changed,\n"
    "   LATERAL pg_partition_tree(objid) p)\n"
    "  SELECT json_build_object('oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'columns',\n"
    "   coalesce((SELECT json_agg(json_build_array(a.attname, a.atttypid::bigint, a.atttypmod, a.attnum,\n"
    "     CASE WHEN s.nspname = 'pg_catalog' THEN '' ELSE s.nspname END,\n"
    "     CASE WHEN s.nspname = 'pg_catalog' THEN format_type(a.atttypid, a.atttypmod)\n"
    "      ELSE substr(format_type(a.atttypid, a.atttypmod), length(quote_ident(s.nspname)) + 2) END,\n"
    "     a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated,\n"
    "     CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END) ORDER BY a.attnum)\n"
    "    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace s ON s.oid = "
    "t.typnamespace\n"
    "    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum\n"
    "    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'))::text AS text\n"
    "  FROM tables x JOIN pg_class c ON c.oid = x.oid JOIN pg_namespace n ON n.oid = c.relnamespace\n"
    "  WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT LIKE 'pg\\_%%' LOOP\n"
    "  PERFORM pg_logical_emit_message(true, %1$s, m.text);\n"
    " END LOOP;\n"
    " PERFORM pg_logical_emit_message(true, 'walferry.behind', '');\n"
    "EXCEPTION WHEN OTHERS THEN\n"
    " RAISE DEBUG 'walferry: %%', SQLERRM;\n"
    "END $walferry$";

typedef struct Event {
    const char *suffix, *event;
} Event;
static const Event EVENTS[] = {
    {"ddl", "ddl_command_end"}, {"drop", "sql_drop"}, {"rewrite", "table_rewrite"}};
enum { EVENT_COUNT = sizeof EVENTS / sizeof *EVENTS, SQL_LIMIT = 1 << 14, NAME_SIZE = 64 };

static void name_of(const Config *cfg, const char *suffix, char out[NAME_SIZE]) {
    snprintf(out, NAME_SIZE, "dts_%s_%s", cfg->name, suffix);
}

static bool function_make(Pg *source, const Config *cfg, Error *e) {
    char name[NAME_SIZE], prefix[NAME_SIZE];
    Writer sql = writer_new(SQL_LIMIT), literal = writer_new(SQL_LIMIT);
    name_of(cfg, "ddl", name);
    snprintf(prefix, sizeof prefix, DDL_TRIGGER_PREFIX "%s", cfg->name);
    pg_write_literal(&literal, source, prefix);
    writer_text(&sql, "CREATE OR REPLACE FUNCTION walferry.");
    pg_write_name(&sql, source, name);
    writer_text(&sql, "()");
    writer_format(&sql, BODY, writer_string(&literal));
    bool ok = pg_run(source, writer_string(&sql), e);
    writer_free(&literal);
    writer_free(&sql);
    return ok;
}

static bool exists(Pg *source, const char *sql, const char *name, bool *out, Error *e) {
    const char *const params[] = {name};
    PGresult *rows = pg_query(source, sql, 1, params, e);
    *out = rows != NULL && PQntuples(rows) > 0;
    PQclear(rows);
    return rows != NULL;
}

static bool trigger_make(Pg *source, const Config *cfg, const Event *event, Error *e) {
    char name[NAME_SIZE], function[NAME_SIZE];
    bool there;
    name_of(cfg, event->suffix, name);
    name_of(cfg, "ddl", function);
    if (!exists(source, SQL_TRIGGERS, name, &there, e))
        return false;
    Writer sql = writer_new(SQL_LIMIT);
    if (!there) {
        writer_text(&sql, "CREATE EVENT TRIGGER ");
        pg_write_name(&sql, source, name);
        writer_format(&sql, " ON %s EXECUTE FUNCTION walferry.", event->event);
        pg_write_name(&sql, source, function);
        writer_text(&sql, "(); ");
    }
    writer_text(&sql, "ALTER EVENT TRIGGER ");
    pg_write_name(&sql, source, name);
    writer_text(&sql, " ENABLE ALWAYS");
    bool ok = pg_run(source, writer_string(&sql), e);
    writer_free(&sql);
    return ok;
}

static bool all_make(Pg *source, const Config *cfg, const char *end, Error *e) {
    Error ignored;
    if (source->version < 140000) {
        fail(e, ERR_CONFIG, "\"ddl: apply\" needs logical messages, which servers before 14 do not send");
        return fail_hint(e, "set ddl to stop or pause-table");
    }
    bool ok = pg_run(source, SQL_BEGIN, e) && pg_run(source, SQL_SCHEMA, e) && function_make(source, cfg, e);
    for (int event = 0; ok && event < EVENT_COUNT; event++)
        ok = trigger_make(source, cfg, &EVENTS[event], e);
    if (ok && pg_run(source, end, e))
        return true;
    pg_run(source, "ROLLBACK", &ignored);
    return false;
}

bool ddl_trigger_make(Pg *source, const Config *cfg, Error *e) {
    return all_make(source, cfg, "COMMIT", e);
}

bool ddl_trigger_try(Pg *source, const Config *cfg, Error *e) {
    return all_make(source, cfg, "ROLLBACK", e);
}

static bool drop_run(Pg *source, const char *what, const char *name, const char *behind, Error *e) {
    Writer sql = writer_new(SQL_LIMIT);
    writer_text(&sql, what);
    pg_write_name(&sql, source, name);
    writer_text(&sql, behind);
    bool ok = pg_run(source, writer_string(&sql), e);
    writer_free(&sql);
    return ok;
}

static bool schema_drop(Pg *source, Error *e) {
    char used[8];
    return pg_value(source, SQL_SCHEMA_USED, 0, NULL, used, sizeof used, e) &&
           (used[0] == 't' || pg_run(source, "DROP SCHEMA IF EXISTS walferry", e));
}

static bool all_drop(Pg *source, const Config *cfg, Error *e) {
    char name[NAME_SIZE];
    bool ok = pg_run(source, SQL_BEGIN, e);
    for (int event = 0; ok && event < EVENT_COUNT; event++) {
        name_of(cfg, EVENTS[event].suffix, name);
        ok = drop_run(source, "DROP EVENT TRIGGER IF EXISTS ", name, "", e);
    }
    name_of(cfg, "ddl", name);
    return ok && drop_run(source, "DROP FUNCTION IF EXISTS walferry.", name, "()", e) &&
           schema_drop(source, e) && pg_run(source, "COMMIT", e);
}

bool ddl_trigger_drop(Pg *source, const Config *cfg, bool dry_run, bool *found, Error *e) {
    char name[NAME_SIZE];
    bool function, trigger;
    Error ignored;
    name_of(cfg, "ddl", name);
    if (!exists(source, SQL_FUNCTION, name, &function, e) || !exists(source, SQL_TRIGGERS, name, &trigger, e))
        return false;
    *found = function || trigger;
    if (!*found || dry_run || all_drop(source, cfg, e))
        return true;
    pg_run(source, "ROLLBACK", &ignored);
    return false;
}
