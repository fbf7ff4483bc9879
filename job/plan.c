#include "job/plan.h"

#include "core/pg.h"
#include "job/units.h"

enum { PLAN_LARGEST = 3 };
/* A cautious guess for one network and one destination disk; the live view measures. */
#define PLAN_BYTES_PER_S (60 * 1024 * 1024)

static void server_write(Writer *out, const char *side, const char *dsn) {
    char where[300];
    Error e;
    if (pg_describe(dsn, where, sizeof where, &e))
        writer_format(out, "  %-12s %s\n", side, where);
}

/* The job's place in words: "schema, full load, changes". */
static void phases_write(Writer *out, const Config *cfg) {
    const char *between = "";
    writer_format(out, "  %-12s ", "phases");
    if (cfg->phases.schema) {
        writer_text(out, "schema");
        between = ", ";
    }
    if (cfg->phases.full) {
        writer_format(out, "%sfull load of one snapshot", between);
        between = ", ";
    }
    if (cfg->phases.incremental)
        writer_format(out, "%severy change from then on", between);
    writer_text(out, "\n");
}

/* The next largest table behind `below` in the order of size, then of place; NULL when there is none. */
static const Table *table_after(const Selection *selection, const Table *below) {
    const Table *best = NULL;
    for (int at = 0; at < selection->count; at++) {
        const Table *table = &selection->tables[at];
        bool later =
            below == NULL || table->bytes < below->bytes || (table->bytes == below->bytes && table > below);
        if (later && (best == NULL || table->bytes > best->bytes))
            best = table;
    }
    return best;
}

static void tables_write(Writer *out, const Config *cfg, const Selection *selection) {
    int64_t bytes = 0, rows = 0;
    for (int at = 0; at < selection->count; at++) {
        bytes += selection->tables[at].bytes;
        rows += selection->tables[at].rows_estimated > 0 ? selection->tables[at].rows_estimated : 0;
    }
    writer_format(out, "  %-12s %s (%s, about %s rows)", "tables", UNIT_COUNT(selection->count),
                  UNIT_BYTES(bytes), UNIT_COUNT(rows));
    const Table *table = NULL;
    for (int at = 0; at < PLAN_LARGEST && (table = table_after(selection, table)) != NULL; at++)
        writer_format(out, "%s%s %s", at == 0 ? "; largest: " : ", ", table->full_name,
                      UNIT_BYTES(table->bytes));
    writer_text(out, "\n");
    if (cfg->phases.full)
        writer_format(out, "  %-12s %d at a time, about %s at %s/s\n", "load", cfg->load.workers,
                      UNIT_CLOCK(bytes * 1000 / PLAN_BYTES_PER_S), UNIT_BYTES(PLAN_BYTES_PER_S));
}

/* Only what the job says of names, rows and columns. */
static void names_write(Writer *out, const Selection *selection) {
    int renamed = 0, filtered = 0, listed = 0;
    for (int at = 0; at < selection->count; at++) {
        const Table *table = &selection->tables[at];
        renamed += table->target_full_name != table->full_name ? 1 : 0;
        filtered += table->where != NULL ? 1 : 0;
        listed += table->listed ? 1 : 0;
    }
    if (renamed + filtered + listed > 0)
        writer_format(out,
                      "  %-12s %s tables under another name, %s with a row filter, %s with a column list\n",
                      "of these", UNIT_COUNT(renamed), UNIT_COUNT(filtered), UNIT_COUNT(listed));
}

static void makes_write(Writer *out, const Config *cfg, const Selection *selection) {
    int insert_only = 0;
    for (int at = 0; at < selection->count; at++)
        insert_only += selection->tables[at].insert_only ? 1 : 0;
    if (cfg->phases.incremental) {
        writer_format(out, "  %-12s slot \"%s\", publication \"%s\"", "on source", cfg->slot,
                      cfg->source.publication);
        if (insert_only > 0)
            writer_format(out, ", publication \"%s\" for %d insert-only tables", cfg->insert_publication,
                          insert_only);
        if (cfg->source.heartbeat_ms > 0)
            writer_format(out, ", table \"%s.%s\"", cfg->source.heartbeat_schema,
                          cfg->source.heartbeat_table);
        if (cfg->identity == IDENTITY_FULL)
            writer_text(out, ", replica identity full where a table has none");
        writer_text(out, "\n");
    } else {
        writer_format(out, "  %-12s nothing is made\n", "on source");
    }
    if (cfg->target.dsn == NULL)
        return;
    writer_format(out, "  %-12s schema \"%s\" for the job's progress%s\n", "on target",
                  cfg->target.state_schema, cfg->phases.schema ? ", and the objects of the source" : "");
}

void plan_write(Writer *out, const Config *cfg, const Selection *selection, const JobRecord *record) {
    if (record->exists)
        writer_format(out, "job \"%s\" goes on in phase %s, applied up to " LSN_FMT "\n", cfg->name,
                      phase_name(record->phase), LSN_ARGS(record->applied));
    else
        writer_format(out, "job \"%s\" begins\n", cfg->name);
    if (cfg->source.dsn != NULL)
        server_write(out, "source", cfg->source.dsn);
    if (cfg->target.dsn != NULL)
        server_write(out, "target", cfg->target.dsn);
    if (cfg->kafka.brokers != NULL)
        writer_format(out, "  %-12s %s, topics %s.*, %s\n", "kafka", cfg->kafka.brokers, cfg->kafka.prefix,
                      cfg->kafka.delivery == DELIVERY_EXACTLY_ONCE ? "exactly once" : "at least once");
    if (cfg->file.path != NULL)
        writer_format(out, "  %-12s %s\n", "file", cfg->file.path);
    phases_write(out, cfg);
    tables_write(out, cfg, selection);
    names_write(out, selection);
    if (!record->exists)
        makes_write(out, cfg, selection);
}

/* The command in quotes, and what else a job without a file needs. */
static void command_write(Writer *out, const char *command, const char *job_file) {
    if (job_file != NULL)
        writer_format(out, "\"walferry %s %s\"", command, job_file);
    else
        writer_format(out, "\"walferry %s\" with the same flags", command);
}

void plan_next(Writer *out, const Config *cfg, const char *job_file, Phase phase, int64_t retained_bytes) {
    if (phase == PHASE_COMPLETED) {
        writer_text(out, "completed");
        if (cfg->target.dsn != NULL) {
            writer_text(out, "; next: ");
            command_write(out, "cleanup", job_file);
            writer_text(out, " removes what walferry made beside the data");
        }
        writer_text(out, "\n");
        return;
    }
    writer_text(out, "next: ");
    command_write(out, "run", job_file);
    writer_text(out, " goes on from here");
    if (cfg->phases.incremental)
        writer_format(out, "; until then slot \"%s\" keeps WAL on the source", cfg->slot);
    if (cfg->phases.incremental && retained_bytes >= 0)
        writer_format(out, ", %s now", UNIT_BYTES(retained_bytes));
    writer_text(out, "\n");
}
