#include "job/check_database.h"

#include <string.h>

#include "core/options.h"
#include "job/check_text.h"

/* What belongs to the database itself and what no dump of its contents carries: settings and locale. */

/* The settings that hold in this database, for everybody or for one role. */
static const char SETTINGS_SQL[] =
    "SELECT CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END,"
    "  split_part(k.setting, '=', 1), substr(k.setting, strpos(k.setting, '=') + 1)"
    " FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
    " CROSS JOIN LATERAL unnest(s.setconfig) AS k (setting)"
    " WHERE d.datname = current_database() ORDER BY 1 NULLS FIRST, 2";
enum SettingField { S_ROLE, S_NAME, S_VALUE };

/* The columns' names differ from version to version. */
static const char LOCALE_SQL[] =
    "SELECT CASE d.about ->> 'datlocprovider' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,"
    "  d.about ->> 'datcollate',"
    "  d.about ->> 'datctype', coalesce(d.about ->> 'datlocale', d.about ->> 'daticulocale', '')"
    " FROM (SELECT to_jsonb(p) AS about FROM pg_database p WHERE p.datname = current_database()) d";
enum LocaleField { L_PROVIDER, L_COLLATE, L_CTYPE, L_LOCALE, LOCALE_FIELDS };

enum { STATEMENT_MAX_BYTES = 1 << 16 };

typedef void BothLook(const Check *c, const PGresult *source, const PGresult *target, Finding *out);

/* The same question to both sides. */
static bool both_look(Check *c, const char *sql, BothLook *look, Finding *out, Error *e) {
    PGresult *source = pg_query(c->source, sql, 0, NULL, e);
    PGresult *target = source == NULL ? NULL : pg_query(c->target, sql, 0, NULL, e);
    bool ok = target != NULL;
    if (ok)
        look(c, source, target, out);
    PQclear(source);
    PQclear(target);
    return ok;
}

/* Settings whose value is a list of quoted names (GUC_LIST_QUOTE): each is a literal of its own. */
static bool is_list(const char *name) {
    static const char *const lists[] = {"search_path", "temp_tablespaces", "local_preload_libraries",
                                        "session_preload_libraries"};
    for (size_t at = 0; at < sizeof lists / sizeof *lists; at++)
        if (strcmp(name, lists[at]) == 0)
            return true;
    return false;
}

static void value_write(Writer *sql, const Check *c, const char *name, const char *value) {
    char part[NAME_BYTES_MAX * 2 + 3];
    int count = 0;
    if (is_list(name))
        for (const char *at = value; setting_next(&at, part, sizeof part); count++) {
            writer_text(sql, count == 0 ? "" : ", ");
            pg_write_literal(sql, c->target, part);
        }
    if (count == 0)
        pg_write_literal(sql, c->target, value);
}

static void setting_fix(const Check *c, Finding *out, const PGresult *rows, int row) {
    Writer sql = writer_new(STATEMENT_MAX_BYTES), name = writer_new(STATEMENT_MAX_BYTES);
    pg_write_name(&name, c->target, pg_cell(c->target_facts, 0, TARGET_DATABASE));
    if (pg_cell_null(rows, row, S_ROLE)) {
        writer_format(&sql, "ALTER DATABASE %s SET ", writer_string(&name));
    } else {
        writer_text(&sql, "ALTER ROLE ");
        pg_write_name(&sql, c->target, pg_cell(rows, row, S_ROLE));
        writer_format(&sql, " IN DATABASE %s SET ", writer_string(&name));
    }
    writer_format(&sql, "%s TO ", pg_cell(rows, row, S_NAME));
    value_write(&sql, c, pg_cell(rows, row, S_NAME), pg_cell(rows, row, S_VALUE));
    finding_fix(out, "%s; -- on the target", writer_string(&sql));
    writer_free(&sql);
    writer_free(&name);
}

static bool cells_same(const PGresult *a, int a_row, const PGresult *b, int b_row, int column) {
    return pg_cell_null(a, a_row, column) == pg_cell_null(b, b_row, column) &&
           strcmp(pg_cell(a, a_row, column), pg_cell(b, b_row, column)) == 0;
}

static bool setting_is_there(const PGresult *source, int row, const PGresult *target) {
    for (int at = 0; at < PQntuples(target); at++)
        if (cells_same(source, row, target, at, S_ROLE) && cells_same(source, row, target, at, S_NAME) &&
            cells_same(source, row, target, at, S_VALUE))
            return true;
    return false;
}

static void settings_look(const Check *c, const PGresult *source, const PGresult *target, Finding *out) {
    Names names = names_new();
    for (int row = 0; row < PQntuples(source); row++) {
        if (setting_is_there(source, row, target))
            continue;
        if (!names_full(&names))
            setting_fix(c, out, source, row);
        names_add(&names, pg_cell(source, row, S_NAME));
    }
    if (names.count > 0)
        finding_alert(out, "%d settings of the source database are not copied: %s", names.count,
                      names_text(&names));
    else
        finding_pass(out, "the target database has the source's settings");
    names_free(&names);
}

bool check_database_settings(Check *c, Finding *out, Error *e) {
    return both_look(c, SETTINGS_SQL, settings_look, out, e);
}

static void locale_text(const PGresult *rows, Writer *out) {
    writer_format(out, "%s %s", pg_cell(rows, 0, L_PROVIDER), pg_cell(rows, 0, L_COLLATE));
    if (strcmp(pg_cell(rows, 0, L_CTYPE), pg_cell(rows, 0, L_COLLATE)) != 0)
        writer_format(out, "/%s", pg_cell(rows, 0, L_CTYPE));
    if (pg_cell(rows, 0, L_LOCALE)[0] != '\0')
        writer_format(out, "/%s", pg_cell(rows, 0, L_LOCALE));
}

static void locale_look(const Check *c, const PGresult *source, const PGresult *target, Finding *out) {
    bool same = true;
    for (int column = 0; column < LOCALE_FIELDS; column++)
        same = same && cells_same(source, 0, target, 0, column);
    Writer ours = writer_new(STATEMENT_MAX_BYTES), theirs = writer_new(STATEMENT_MAX_BYTES);
    locale_text(source, &ours);
    locale_text(target, &theirs);
    if (same) {
        finding_pass(out, "%s on both sides", writer_string(&ours));
    } else {
        Writer sql = writer_new(STATEMENT_MAX_BYTES);
        writer_text(&sql, "CREATE DATABASE ");
        pg_write_name(&sql, c->target, pg_cell(c->target_facts, 0, TARGET_DATABASE));
        writer_text(&sql, " TEMPLATE template0 LC_COLLATE ");
        pg_write_literal(&sql, c->target, pg_cell(source, 0, L_COLLATE));
        writer_text(&sql, " LC_CTYPE ");
        pg_write_literal(&sql, c->target, pg_cell(source, 0, L_CTYPE));
        finding_fix(out,
                    "%s; -- on the target, in place of the one there, and with the source's locale provider",
                    writer_string(&sql));
        finding_alert(out,
                      "%s on the source, %s on the target: texts sort differently, and partitions by ranges "
                      "of text may refuse rows",
                      writer_string(&ours), writer_string(&theirs));
        writer_free(&sql);
    }
    writer_free(&ours);
    writer_free(&theirs);
}

bool check_database_locale(Check *c, Finding *out, Error *e) {
    return both_look(c, LOCALE_SQL, locale_look, out, e);
}
