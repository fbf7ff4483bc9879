#include "cli/view.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "job/units.h"

enum { BAR_COLUMNS = 20, NAME_COLUMNS_MAX = 40 };

#define STYLE_PLAIN  ""
#define STYLE_STRONG "\033[1m"
#define STYLE_FAINT  "\033[2m"
#define STYLE_GOOD   "\033[32m"
#define STYLE_BUSY   "\033[36m"
#define STYLE_WARN   "\033[33m"
#define STYLE_BAD    "\033[31m"
#define STYLE_END    "\033[0m"

/* What is left of the terminal. Rows below the last and columns behind the last are not written. */
typedef struct Canvas {
    Writer *out;
    int width, columns_left, rows_left;
    bool colour;
} Canvas;

/* Bytes of `text` that fill at most `columns`; every character counts as one column. */
static size_t text_fit(const char *text, int columns, int *used) {
    size_t at = 0;
    *used = 0;
    while (text[at] != '\0') {
        bool begins = ((unsigned char)text[at] & 0xC0) != 0x80;
        if (begins && *used == columns)
            break;
        *used += begins ? 1 : 0;
        at++;
    }
    return at;
}

__attribute__((format(printf, 3, 4))) static void put(Canvas *c, const char *style, const char *format, ...) {
    char text[VIEW_LINE_SIZE * 2];
    int used;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t length = text_fit(text, c->columns_left, &used);
    if (c->rows_left <= 0 || length == 0)
        return;
    bool styled = c->colour && *style != '\0';
    writer_text(c->out, styled ? style : "");
    writer_bytes(c->out, (Slice){text, length});
    writer_text(c->out, styled ? STYLE_END : "");
    c->columns_left -= used;
}

static void row_end(Canvas *c) {
    if (c->rows_left <= 0)
        return;
    writer_text(c->out, "\n");
    c->rows_left--;
    c->columns_left = c->width;
}

static const char *state_style(const char *state) {
    if (strcmp(state, run_state_name(RUN_FAILED)) == 0)
        return STYLE_BAD;
    return strcmp(state, run_state_name(RUN_RUNNING)) == 0 ? STYLE_GOOD : STYLE_WARN;
}

static void title_draw(Canvas *c, const Progress *p) {
    put(c, STYLE_STRONG, "%s", p->job);
    put(c, STYLE_PLAIN, "  ");
    put(c, state_style(p->state), "%s", p->state);
    if (p->elapsed_ms >= 0)
        put(c, STYLE_FAINT, "  %s", UNIT_CLOCK(p->elapsed_ms));
    if (p->rss_bytes >= 0)
        put(c, STYLE_FAINT, "  memory %s", UNIT_BYTES(p->rss_bytes));
    row_end(c);
}

/* The phase where the job stands is in brackets, so that it can be seen without colours. */
static void phases_draw(Canvas *c, const Progress *p) {
    static const Phase shown[] = {PHASE_CHECKING,    PHASE_SCHEMA,  PHASE_FULL,
                                  PHASE_CATCHING_UP, PHASE_RUNNING, PHASE_COMPLETED};
    bool passed = true;
    for (size_t at = 0; at < sizeof shown / sizeof *shown; at++) {
        const char *name = phase_name(shown[at]);
        bool here = strcmp(name, p->phase) == 0;
        passed = passed && !here;
        put(c, STYLE_FAINT, "%s", at == 0 ? "" : " > ");
        if (here)
            put(c, STYLE_STRONG STYLE_BUSY, "[%s]", name);
        else
            put(c, passed ? STYLE_GOOD : STYLE_FAINT, "%s", name);
    }
    row_end(c);
    if (p->reason[0] != '\0') {
        put(c, state_style(p->state), "%s", p->reason);
        row_end(c);
    }
}

static void bar_draw(Canvas *c, double share) {
    char bar[BAR_COLUMNS + 1];
    int filled = share < 0 ? 0 : (int)(share * BAR_COLUMNS);
    for (int at = 0; at < BAR_COLUMNS; at++)
        bar[at] = at < filled ? '#' : '-';
    bar[BAR_COLUMNS] = '\0';
    put(c, STYLE_PLAIN, " [");
    put(c, STYLE_BUSY, "%.*s", filled, bar);
    put(c, STYLE_FAINT, "%s", bar + filled);
    put(c, STYLE_PLAIN, "]");
}

/* ", 85 MiB/s, 0:26 left", as far as it is known */
static void speed_draw(Canvas *c, double bytes_per_s, int64_t left_ms) {
    if (bytes_per_s >= 0)
        put(c, STYLE_PLAIN, ", %s/s", UNIT_BYTES((int64_t)bytes_per_s));
    if (left_ms >= 0)
        put(c, STYLE_PLAIN, ", %s left", UNIT_CLOCK(left_ms));
}

static void table_draw(Canvas *c, const ProgressTable *table, int name_columns) {
    put(c, STYLE_PLAIN, "  %-*.*s", name_columns, name_columns, table->name);
    bar_draw(c, table->share);
    if (table->share >= 0)
        put(c, STYLE_PLAIN, " %3d%%", (int)(table->share * 100));
    else
        put(c, STYLE_PLAIN, "    ?");
    put(c, STYLE_PLAIN, "  %s rows", UNIT_COUNT(table->rows));
    speed_draw(c, table->bytes_per_s, table->left_ms);
    row_end(c);
}

/* "limits  5,000 rows/s, 10 MiB/s", as far as there are some. */
static void limits_draw(Canvas *c, const int64_t limit[THROTTLE_KINDS]) {
    const char *between = "";
    if (limit[THROTTLE_QUERIES] + limit[THROTTLE_ROWS] + limit[THROTTLE_BYTES] == 0)
        return;
    put(c, STYLE_STRONG, "limits  ");
    if (limit[THROTTLE_QUERIES] > 0) {
        put(c, STYLE_PLAIN, "%s queries/s", UNIT_COUNT(limit[THROTTLE_QUERIES]));
        between = ", ";
    }
    if (limit[THROTTLE_ROWS] > 0) {
        put(c, STYLE_PLAIN, "%s%s rows/s", between, UNIT_COUNT(limit[THROTTLE_ROWS]));
        between = ", ";
    }
    if (limit[THROTTLE_BYTES] > 0)
        put(c, STYLE_PLAIN, "%s%s/s", between, UNIT_BYTES(limit[THROTTLE_BYTES]));
    row_end(c);
}

static void tables_draw(Canvas *c, const Progress *p, int rows) {
    if (p->tables == 0)
        return;
    put(c, STYLE_STRONG, "tables  ");
    put(c, STYLE_PLAIN, "%s of %s loaded, %s in work, %s waiting", UNIT_COUNT(p->loaded),
        UNIT_COUNT(p->tables), UNIT_COUNT(p->copying), UNIT_COUNT(p->tables - p->loaded - p->copying));
    if (progress_loads(p) && p->load_bytes_total > 0) {
        put(c, STYLE_PLAIN, "; %s of %s", UNIT_BYTES(p->load_bytes), UNIT_BYTES(p->load_bytes_total));
        speed_draw(c, p->bytes_per_s, p->load_left_ms);
    }
    row_end(c);
    if (progress_loads(p))
        limits_draw(c, p->limit);
    int name_columns = 0;
    for (int at = 0; at < p->shown; at++)
        name_columns =
            (int)strlen(p->table[at].name) > name_columns ? (int)strlen(p->table[at].name) : name_columns;
    for (int at = 0; at < p->shown && at < rows; at++)
        table_draw(c, &p->table[at], name_columns < NAME_COLUMNS_MAX ? name_columns : NAME_COLUMNS_MAX);
}

enum { BUILD_ROWS = 4 };

static void builds_draw(Canvas *c, const Progress *p) {
    for (int at = 0; at < p->builds && at < BUILD_ROWS; at++) {
        const BuildMetrics *build = &p->build[at];
        put(c, STYLE_PLAIN, "  %-*.*s", NAME_COLUMNS_MAX, NAME_COLUMNS_MAX, build->name);
        bar_draw(c, build->total > 0 ? (double)build->done / (double)build->total : 0);
        if (build->total > 0)
            put(c, STYLE_PLAIN, " %3d%%  %s", (int)(100 * build->done / build->total), build->step);
        row_end(c);
    }
    if (p->builds > BUILD_ROWS) {
        put(c, STYLE_FAINT, "  and %d more", p->builds - BUILD_ROWS);
        row_end(c);
    }
}

static void work_draw(Canvas *c, const Progress *p) {
    if (p->post_data_total > 0 && p->post_data_done < p->post_data_total) {
        put(c, STYLE_STRONG, "indexes ");
        put(c, STYLE_PLAIN, "%d of %d indexes, constraints and triggers made", p->post_data_done,
            p->post_data_total);
        row_end(c);
    }
    builds_draw(c, p);
    if (p->activity[0] != '\0' && p->builds == 0) {
        put(c, STYLE_STRONG, "now     ");
        put(c, STYLE_PLAIN, "%s", p->activity);
        row_end(c);
    }
}

static void stages_draw(Canvas *c, const Progress *p) {
    if (p->received_ms < 0 && p->applied_ms < 0)
        return;
    put(c, STYLE_PLAIN, "        received %s, decoded %s, queued %s, applied %s", UNIT_LAG(p->received_ms),
        UNIT_LAG(p->decoded_ms), UNIT_LAG(p->queued_ms), UNIT_LAG(p->applied_ms));
    row_end(c);
}

/* "received 0 B", behind a separator. */
static void behind_draw(Canvas *c, const char *stage, int64_t bytes, const char **between) {
    if (bytes < 0)
        return;
    put(c, STYLE_PLAIN, "%s%s %s", *between, stage, UNIT_BYTES(bytes));
    *between = ", ";
}

static void lag_draw(Canvas *c, const Progress *p) {
    const char *between = "; behind the source: ";
    put(c, STYLE_STRONG, "lag     ");
    put(c, p->lag_ms > 10000 ? STYLE_WARN : STYLE_PLAIN, "%s", UNIT_LAG(p->lag_ms));
    behind_draw(c, "received", p->received_behind_bytes, &between);
    behind_draw(c, "applied", p->applied_behind_bytes, &between);
    behind_draw(c, "confirmed", p->confirmed_behind_bytes, &between);
    row_end(c);
    stages_draw(c, p);
}

static void changes_draw(Canvas *c, const Progress *p) {
    if (p->changes < 0)
        return;
    put(c, STYLE_STRONG, "changes ");
    if (p->changes_per_s >= 0)
        put(c, STYLE_PLAIN, "%s/s; ", UNIT_COUNT((int64_t)(p->changes_per_s + 0.5)));
    put(c, STYLE_PLAIN, "%s in %s transactions", UNIT_COUNT(p->changes), UNIT_COUNT(p->transactions));
    if (p->in_sets)
        put(c, STYLE_FAINT, ", in sets");
    if (p->in_sets && p->workers > 1)
        put(c, STYLE_FAINT, " on %d connections", p->workers);
    if (p->conflicts > 0)
        put(c, STYLE_WARN, ", %s conflicts", UNIT_COUNT(p->conflicts));
    if (p->dead_letters > 0)
        put(c, STYLE_WARN, ", %s dead letters", UNIT_COUNT(p->dead_letters));
    if (p->left_out > 0)
        put(c, STYLE_PLAIN, ", %s left out", UNIT_COUNT(p->left_out));
    if (p->retries > 0)
        put(c, STYLE_WARN, ", %s retries", UNIT_COUNT(p->retries));
    row_end(c);
    if (progress_streams(p))
        limits_draw(c, p->apply_limit);
}

static void slot_draw(Canvas *c, const Progress *p) {
    if (p->retained_bytes < 0)
        return;
    bool fine = p->wal_status[0] == '\0' || strcmp(p->wal_status, "reserved") == 0;
    put(c, STYLE_STRONG, "slot    ");
    put(c, STYLE_PLAIN, "keeps %s of WAL on the source", UNIT_BYTES(p->retained_bytes));
    if (p->wal_status[0] != '\0')
        put(c, fine ? STYLE_FAINT : STYLE_WARN, ", %s", p->wal_status);
    row_end(c);
}

static void lines_draw(Canvas *c, const ViewLines *lines) {
    int first = lines->count > c->rows_left ? lines->count - c->rows_left : 0;
    for (int at = first; at < lines->count; at++) {
        LogLevel level = lines->level[at];
        put(c,
            level >= LOG_ERROR  ? STYLE_BAD
            : level >= LOG_WARN ? STYLE_WARN
                                : STYLE_FAINT,
            "%s", lines->text[at]);
        row_end(c);
    }
}

void view_draw(Writer *out, const Progress *p, const ViewLines *lines, int width, int height, bool colour) {
    /* rows that everything else needs, with two of the log, before tables get theirs */
    enum { OTHER_ROWS = 12 };
    Canvas c = {.out = out, .width = width, .columns_left = width, .rows_left = height, .colour = colour};
    title_draw(&c, p);
    phases_draw(&c, p);
    tables_draw(&c, p, height > OTHER_ROWS ? height - OTHER_ROWS : 1);
    work_draw(&c, p);
    if (progress_streams(p) || p->changes > 0) {
        lag_draw(&c, p);
        changes_draw(&c, p);
    }
    slot_draw(&c, p);
    lines_draw(&c, lines);
}

static void load_line(Writer *out, const Progress *p) {
    writer_format(out, "load: %s of %s tables, %s of %s", UNIT_COUNT(p->loaded), UNIT_COUNT(p->tables),
                  UNIT_BYTES(p->load_bytes), UNIT_BYTES(p->load_bytes_total));
    if (p->bytes_per_s >= 0)
        writer_format(out, ", %s/s", UNIT_BYTES((int64_t)p->bytes_per_s));
    if (p->load_left_ms >= 0)
        writer_format(out, ", %s left", UNIT_CLOCK(p->load_left_ms));
    if (p->retained_bytes >= 0)
        writer_format(out, "; the slot keeps %s of WAL", UNIT_BYTES(p->retained_bytes));
}

void view_line(Writer *out, const Progress *p) {
    if (progress_loads(p) && p->tables > 0 && p->loaded < p->tables) {
        load_line(out, p);
        return;
    }
    writer_format(out, "%s:", p->phase);
    if (p->post_data_done < p->post_data_total)
        writer_format(out, " %d of %d indexes, constraints and triggers made,", p->post_data_done,
                      p->post_data_total);
    writer_format(out, " lag %s", UNIT_LAG(p->lag_ms));
    if (p->applied_behind_bytes >= 0)
        writer_format(out, ", %s behind", UNIT_BYTES(p->applied_behind_bytes));
    if (p->changes_per_s >= 0)
        writer_format(out, ", %s changes/s%s", UNIT_COUNT((int64_t)(p->changes_per_s + 0.5)),
                      p->in_sets ? " in sets" : "");
    if (p->changes_per_s >= 0 && p->in_sets && p->workers > 1)
        writer_format(out, " on %d connections", p->workers);
}
