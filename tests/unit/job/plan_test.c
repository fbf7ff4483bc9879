#include <string.h>

#include "job/plan.h"
#include "testing.h"

static char shop[] = "shop", source_dsn[] = "postgresql://reader:geheim@db1/shop", schema[] = "walferry";
static char target_dsn[] = "host=new dbname=shop user=loader password=geheim", slot[] = "dts_sync_shop";
static char inserts[] = "dts_sync_shop_i", public[] = "public", beats[] = "dts_postgres_heartbeat";
static char file_path[] = "changes.jsonl";

static Config config_make(void) {
    Config cfg = {.name = shop, .slot = slot, .insert_publication = inserts};
    cfg.source.dsn = source_dsn;
    cfg.source.heartbeat_ms = 1000;
    cfg.source.heartbeat_schema = public;
    cfg.source.heartbeat_table = beats;
    cfg.source.publication = slot;
    cfg.target.dsn = target_dsn;
    cfg.target.state_schema = schema;
    cfg.phases.schema = cfg.phases.full = cfg.phases.incremental = true;
    cfg.load.workers = 4;
    return cfg;
}

static const char name_a[] = "public.a", name_b[] = "public.b", name_c[] = "public.c", name_d[] = "public.d";

static Table tables[] = {
    {.full_name = name_a, .target_full_name = name_a, .bytes = 1 << 20, .rows_estimated = 1000},
    {.full_name = name_b, .target_full_name = name_b, .bytes = 60 << 20, .rows_estimated = 500000},
    {.full_name = name_c, .target_full_name = name_c, .bytes = 60 << 20, .rows_estimated = -1},
    {.full_name = name_d,
     .target_full_name = name_d,
     .bytes = 2 << 20,
     .rows_estimated = 7,
     .insert_only = true},
};
static const Selection selection = {.count = 4, .tables = tables};

static const char *plan(Writer *out, const Config *cfg, const JobRecord *record) {
    *out = writer_new(8192);
    plan_write(out, cfg, &selection, record);
    return writer_string(out);
}

static void a_new_job_says_what_it_will_make(void **unused) {
    (void)unused;
    Config cfg = config_make();
    JobRecord record = {.exists = false};
    Writer out;
    assert_string_equal(
        plan(&out, &cfg, &record),
        "job \"shop\" begins\n"
        "  source       host=db1 dbname=shop user=reader\n"
        "  target       host=new dbname=shop user=loader\n"
        "  phases       schema, full load of one snapshot, every change from then on\n"
        "  tables       4 (123 MiB, about 501,007 rows); largest: public.b 60 MiB, public.c 60 MiB, public.d "
        "2.0 MiB\n"
        "  load         4 at a time, about 0:02 at 60 MiB/s\n"
        "  on source    slot \"dts_sync_shop\", publication \"dts_sync_shop\", publication "
        "\"dts_sync_shop_i\" for 1 "
        "insert-only tables, table \"public.dts_postgres_heartbeat\"\n"
        "  on target    schema \"walferry\" for the job's progress, and the objects of the source\n");
    writer_free(&out);
}

static void other_names_and_cuts_are_counted(void **unused) {
    (void)unused;
    Config cfg = config_make();
    JobRecord record = {.exists = false};
    Writer out;
    tables[0].target_full_name = "x.a";
    tables[1].where = "true";
    tables[1].listed = tables[2].listed = true;
    assert_non_null(
        strstr(plan(&out, &cfg, &record),
               "  of these     1 tables under another name, 1 with a row filter, 2 with a column list\n"));
    writer_free(&out);
    tables[0].target_full_name = tables[0].full_name;
    tables[1].where = NULL;
    tables[1].listed = tables[2].listed = false;
}

static void a_job_that_goes_on_makes_nothing_new(void **unused) {
    (void)unused;
    Config cfg = config_make();
    JobRecord record = {.exists = true, .phase = PHASE_CATCHING_UP, .applied = {0x16B374D848}};
    Writer out;
    const char *text = plan(&out, &cfg, &record);
    assert_non_null(strstr(text, "job \"shop\" goes on in phase catching-up, applied up to 16/B374D848\n"));
    assert_null(strstr(text, "on source"));
    writer_free(&out);
}

static void passwords_are_not_in_the_plan(void **unused) {
    (void)unused;
    Config cfg = config_make();
    JobRecord record = {.exists = false};
    Writer out;
    assert_null(strstr(plan(&out, &cfg, &record), "geheim"));
    writer_free(&out);
}

static void a_job_without_changes_makes_nothing_at_the_source(void **unused) {
    (void)unused;
    Config cfg = config_make();
    JobRecord record = {.exists = false};
    Writer out;
    cfg.phases.incremental = false;
    const char *text = plan(&out, &cfg, &record);
    assert_non_null(strstr(text, "on source    nothing is made\n"));
    assert_null(strstr(text, "dts_sync_shop"));
    writer_free(&out);
}

static void a_file_as_destination_is_named(void **unused) {
    (void)unused;
    Config cfg = config_make();
    JobRecord record = {.exists = false};
    Writer out;
    cfg.target.dsn = NULL;
    cfg.file.path = file_path;
    const char *text = plan(&out, &cfg, &record);
    assert_non_null(strstr(text, "  file         changes.jsonl\n"));
    assert_null(strstr(text, "on target"));
    writer_free(&out);
}

static const char *next(Writer *out, const Config *cfg, const char *job_file, Phase phase,
                        int64_t retained_bytes) {
    *out = writer_new(8192);
    plan_next(out, cfg, job_file, phase, retained_bytes);
    return writer_string(out);
}

static void a_stopped_stream_names_the_next_command_and_the_wal_kept(void **unused) {
    (void)unused;
    Config cfg = config_make();
    Writer out;
    assert_string_equal(
        next(&out, &cfg, "shop.yaml", PHASE_RUNNING, 34 << 20),
        "next: \"walferry run shop.yaml\" goes on from here; until then slot \"dts_sync_shop\" keeps "
        "WAL on the source, 34 MiB now\n");
    writer_free(&out);
}

static void wal_of_unknown_size_gets_no_number(void **unused) {
    (void)unused;
    Config cfg = config_make();
    Writer out;
    assert_string_equal(next(&out, &cfg, NULL, PHASE_FULL, -1),
                        "next: \"walferry run\" with the same flags goes on from here; until then slot "
                        "\"dts_sync_shop\" keeps WAL on the source\n");
    writer_free(&out);
}

static void a_completed_job_leads_to_cleanup(void **unused) {
    (void)unused;
    Config cfg = config_make();
    Writer out;
    const char *text = next(&out, &cfg, "shop.yaml", PHASE_COMPLETED, 0);
    assert_non_null(strstr(text, "\"walferry cleanup shop.yaml\""));
    assert_null(strstr(text, "walferry run"));
    writer_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_job_says_what_it_will_make),
        cmocka_unit_test(other_names_and_cuts_are_counted),
        cmocka_unit_test(a_job_that_goes_on_makes_nothing_new),
        cmocka_unit_test(passwords_are_not_in_the_plan),
        cmocka_unit_test(a_job_without_changes_makes_nothing_at_the_source),
        cmocka_unit_test(a_file_as_destination_is_named),
        cmocka_unit_test(a_stopped_stream_names_the_next_command_and_the_wal_kept),
        cmocka_unit_test(wal_of_unknown_size_gets_no_number),
        cmocka_unit_test(a_completed_job_leads_to_cleanup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
