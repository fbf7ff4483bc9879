#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/config.h"

#include <cmocka.h> /* last: its fail() would break the prototype of ours */

#define SOURCE "source: {dsn: \"postgresql://reader:hunter2@db1/Shop-Ä\"}\n"
#define TARGET "target: {dsn: \"host=new dbname=shop password=hunter2\"}\n"

/* Every test runs in a folder of its own, so that the file's name in a message is "job.yaml". */
static int folder_enter(void **state) {
    static const char *const VARIABLES[] = {"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "STATE_DIRECTORY",
                                            "XDG_STATE_HOME"};
    char *folder = strdup("/tmp/config_test.XXXXXX");
    for (size_t n = 0; n < sizeof VARIABLES / sizeof *VARIABLES; n++)
        unsetenv(VARIABLES[n]);
    *state = folder;
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int folder_leave(void **state) {
    static const char *const FILES[] = {"job.yaml", "secret"};
    for (size_t n = 0; n < sizeof FILES / sizeof *FILES; n++)
        unlink(FILES[n]);
    int left = chdir("/") != 0 || rmdir(*state) != 0;
    free(*state);
    return left;
}

static void file_write(const char *path, Slice text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text.at, 1, text.len, file), text.len);
    assert_int_equal(fclose(file), 0);
}

static Config *load_text(const char *text, Error *e) {
    file_write("job.yaml", slice_text(text));
    return config_load("job.yaml", NULL, 0, e);
}

static Config *loaded(const char *text) {
    Error e;
    Config *cfg = load_text(text, &e);
    if (cfg == NULL)
        fail_msg("%s (%s) for:\n%s", e.text, e.hint, text);
    return cfg;
}

static void refused(const char *text, const char *message, const char *hint) {
    Error e;
    Config *cfg = load_text(text, &e);
    if (cfg != NULL)
        fail_msg("taken:\n%s", text);
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_string_equal(e.text, message);
    if (hint != NULL)
        assert_string_equal(e.hint, hint);
}

static Config *loaded_by_flags(const char *path, const ConfigSetting *settings, size_t count) {
    Error e;
    Config *cfg = config_load(path, settings, count, &e);
    if (cfg == NULL)
        fail_msg("%s (%s)", e.text, e.hint);
    return cfg;
}

static void refused_by_flag(const char *key, const char *value, const char *message) {
    const ConfigSetting settings[] = {{"source.dsn", "dbname=a"}, {"target.dsn", "dbname=b"}, {key, value}};
    Error e;
    assert_null(config_load(NULL, settings, 3, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_string_equal(e.text, message);
}

static void two_dsns_are_enough_and_bring_every_default(void **state) {
    char expected[200];
    (void)state;
    Config *cfg = loaded(SOURCE TARGET);
    assert_string_equal(cfg->name, "shop___shop");
    assert_string_equal(cfg->source.dsn, "postgresql://reader:hunter2@db1/Shop-Ä");
    assert_int_equal(cfg->source.heartbeat_ms, 1000);
    assert_string_equal(cfg->source.heartbeat_schema, "public");
    assert_string_equal(cfg->source.heartbeat_table, "dts_postgres_heartbeat");
    assert_string_equal(cfg->source.publication, "dts_sync_shop___shop");
    assert_false(cfg->source.two_phase);
    assert_string_equal(cfg->target.state_schema, "walferry");
    assert_true(cfg->phases.schema && cfg->phases.full && cfg->phases.incremental);
    assert_int_equal(cfg->identity, IDENTITY_FAIL);
    assert_string_equal(cfg->schema.pg_dump, "auto");
    assert_in_range(cfg->load.workers, 1, 8);
    assert_int_equal(cfg->retry.connection_ms, 720 * 60000);
    assert_int_equal(cfg->retry.other_ms, 10 * 60000);
    assert_int_equal(cfg->memory_bytes, 128 << 20);
    assert_int_equal(cfg->log.level, LOG_INFO);
    assert_int_equal(cfg->log.format, LOG_TEXT);
    assert_true(cfg->spill.max_bytes == INT64_C(20) << 30);
    assert_null(cfg->file.path);
    assert_string_equal(cfg->slot, "dts_sync_shop___shop");
    assert_string_equal(cfg->load_slot, "dts_sync_shop___shop_load");
    assert_string_equal(cfg->insert_publication, "dts_sync_shop___shop_i");
    snprintf(expected, sizeof expected, "/tmp/walferry-%u/shop___shop.sock", getuid());
    assert_string_equal(cfg->control_socket, expected);
    snprintf(expected, sizeof expected, "/var/tmp/walferry-%u/shop___shop", getuid());
    assert_string_equal(cfg->spill.dir, expected);
    config_free(cfg);
}

static void every_available_key_is_stored(void **state) {
    (void)state;
    Config *cfg = loaded("name: shop\n"
                         "source:\n"
                         "  dsn: service=shop\n"
                         "  heartbeat: 0\n"
                         "  heartbeat_table: ops.Beat\n"
                         "  publication: mine\n"
                         "  two_phase: yes\n"
                         "target: {dsn: \"dbname=x\", dialect: postgresql, state_schema: s, storage: heap}\n"
                         "phases: [full]\n"
                         "identity: insert-only\n"
                         "schema: {pg_dump: /opt/pg_dump, roles: off, event_triggers: false}\n"
                         "existing: fail\nconflicts: skip\nddl: stop\n"
                         "load: {workers: 3, split_above: auto, owners: destination-user, privileges: no}\n"
                         "throttle: {load: {queries_per_s: 0, rows_per_s: 0, bytes_per_s: 0}, apply: "
                         "{rows_per_s: 7, bytes_per_s: 1KiB}}\n"
                         "retry: {connection: 2h, other: 30s}\n"
                         "memory: 16MiB\n"
                         "log: {level: debug, format: json}\n"
                         "spill: {dir: /spill, max: 1GiB}\n");
    assert_true(cfg->source.two_phase);
    assert_string_equal(cfg->name, "shop");
    assert_int_equal(cfg->source.heartbeat_ms, 0);
    assert_string_equal(cfg->source.heartbeat_schema, "ops");
    assert_string_equal(cfg->source.heartbeat_table, "Beat");
    assert_string_equal(cfg->source.publication, "mine");
    assert_string_equal(cfg->target.dsn, "dbname=x");
    assert_string_equal(cfg->target.state_schema, "s");
    assert_true(!cfg->phases.schema && cfg->phases.full && !cfg->phases.incremental);
    assert_int_equal(cfg->identity, IDENTITY_INSERT_ONLY);
    assert_string_equal(cfg->schema.pg_dump, "/opt/pg_dump");
    assert_int_equal(cfg->conflicts, CONFLICTS_SKIP);
    assert_int_equal(cfg->throttle.apply.rows_per_s, 7);
    assert_int_equal(cfg->throttle.apply.bytes_per_s, 1024);
    assert_int_equal(cfg->load.workers, 3);
    assert_int_equal(cfg->retry.connection_ms, 7200000);
    assert_int_equal(cfg->retry.other_ms, 30000);
    assert_int_equal(cfg->memory_bytes, 16 << 20);
    assert_int_equal(cfg->log.level, LOG_DEBUG);
    assert_int_equal(cfg->log.format, LOG_JSON);
    assert_string_equal(cfg->spill.dir, "/spill");
    assert_int_equal(cfg->spill.max_bytes, 1 << 30);
    config_free(cfg);
}

static void documented_defaults_of_later_keys_are_taken(void **state) {
    (void)state;
    config_free(loaded(
        SOURCE TARGET "objects: {case: keep}\n"
                      "guard: {at_limit: alert}\n"
                      "kafka: {format: json, tombstones: yes, delivery: exactly-once, topics: {config: {}}}\n"
                      "alerts: {command: \"\", webhook: \"\"}\n"
                      "metrics:\nreplay: {}\n"));
}

static void free_keys_may_be_several(void **state) {
    (void)state;
    Config *cfg =
        loaded(SOURCE TARGET
               "kafka: {brokers: k1, prefix: shop, config: {security.protocol: ssl, sasl.mechanism: PLAIN},\n"
               "        topics: {config: {cleanup.policy: compact, segment.ms: 7}}}\n");
    assert_int_equal(cfg->kafka.config.count, 2);
    assert_string_equal(cfg->kafka.config.items[0].key, "security.protocol");
    assert_string_equal(cfg->kafka.config.items[1].value, "PLAIN");
    assert_int_equal(cfg->kafka.topic_config.count, 2);
    assert_string_equal(cfg->kafka.topic_config.items[1].key, "segment.ms");
    config_free(cfg);
}

static void routes_are_kept_in_their_order(void **state) {
    (void)state;
    Config *cfg = loaded(SOURCE "kafka:\n  brokers: a\n  prefix: p\n  topics:\n    route:\n"
                                "      - {to: all, match: 'p[.]s[.]t.*', key_field: k}\n"
                                "      - match: 'p[.](.*)[.](.*)'\n        to: $2.\\1\n");
    const Routes *routes = &cfg->kafka.routes;
    Writer name = writer_new(100);
    assert_int_equal(routes->count, 2);
    assert_ptr_equal(routes_find(routes, "p.s.t1", &name), &routes->items[0]);
    assert_string_equal(writer_string(&name), "all");
    assert_ptr_equal(routes_find(routes, "p.s.u", &name), &routes->items[1]);
    assert_string_equal(writer_string(&name), "u.s");
    assert_null(routes_find(routes, "q.s.t1", &name));
    assert_null(routes_find(routes, "p.s", &name));
    assert_string_equal(routes->items[0].key_field, "k");
    assert_null(routes->items[1].key_field);
    writer_free(&name);
    config_free(cfg);
}

static void routes_that_cannot_be_are_refused(void **state) {
    static const char *const CASES[][2] = {
        {"{match: 'a(', to: b}",
         "job.yaml:4: \"kafka.topics.route[].match\": is not a regular expression: Unmatched ( or \\("},
        {"{match: a}", "job.yaml: the item of \"kafka.topics.route\" in line 4: \"to\" is missing"},
        {"{to: a}", "job.yaml: the item of \"kafka.topics.route\" in line 4: \"match\" is missing"},
        {"{match: a}, {to: b}", "job.yaml: the item of \"kafka.topics.route\" in line 4: \"to\" is missing"},
        {"{match: (a), to: $2}",
         "job.yaml: the item of \"kafka.topics.route\" in line 4: \"to\" names group 2, and \"match\" has 1"},
        {"{match: (a), to: x$}", "job.yaml: the item of \"kafka.topics.route\" in line 4: \"to\" has a \"$\" "
                                 "without a digit behind it"},
        {"{match: a, to: b, key: c}", "job.yaml:4: unknown key \"kafka.topics.route[].key\""},
        {"a", "job.yaml:4: \"kafka.topics.route\" takes keys below it, not a value"},
    };
    char text[500];
    (void)state;
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        snprintf(text, sizeof text, "%skafka: {brokers: a, prefix: p,\n  topics: {\n    route: [%s]}}\n",
                 SOURCE, CASES[n][0]);
        refused(text, CASES[n][1], NULL);
    }
}

static void what_comes_later_is_answered_so_with_its_line(void **state) {
    static const char *const CASES[][2] = {
        {"objects: {tables: {s.t: {key: [id]}}}\n",
         "job.yaml:3: \"objects.tables.*.key\" is not available yet in this version"},
        {"replay: {group: g}\n", "job.yaml:3: \"replay.group\" is not available yet in this version"},
        {"metrics: {listen: \"127.0.0.1:1\"}\n",
         "job.yaml:3: \"metrics.listen\" is not available yet in this version"},
        {"guard: {at_limit: spool}\n",
         "job.yaml:3: \"guard.at_limit: spool\" is not available yet in this version"},
        {"alerts: {webhook: \"http://hunter2\"}\n",
         "job.yaml:3: \"alerts.webhook\" is not available yet in this version"},
    };
    char text[500];
    (void)state;
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        snprintf(text, sizeof text, "%s%s%s", SOURCE, TARGET, CASES[n][0]);
        refused(text, CASES[n][1], NULL);
    }
    refused(SOURCE TARGET "target2: 1\n", "job.yaml:3: unknown key \"target2\"", NULL);
    refused(SOURCE TARGET "ddl: pause-table\nphases: [full]\n",
            "job.yaml: \"ddl: pause-table\" needs \"target.dsn\" and the phases \"full\" and \"incremental\"",
            NULL);
}

static void objects_are_kept_as_they_were_written(void **state) {
    (void)state;
    Config *cfg = loaded(SOURCE TARGET "objects:\n"
                                       "  include: [\"sales.*\", '\"a.b\".c', \"!sales.tmp_*\"]\n"
                                       "  exclude: [x.y]\n"
                                       "  rename:\n"
                                       "    schemas: {sales: shop sales, a.b: ab}\n"
                                       "    tables: {public.customer: '\"cr.m\".client'}\n"
                                       "    columns: {public.customer: {nm: name, x.y: xy}}\n"
                                       "  case: upper\n"
                                       "  tables:\n"
                                       "    sales.orders: {where: \"a > 1, b\", columns: [id, total]}\n"
                                       "    sales.*: {dml: [insert, delete], conflicts: skip}\n"
                                       "  dml: [insert, truncate]\n");
    assert_int_equal(cfg->objects.include.count, 3);
    assert_string_equal(cfg->objects.include.items[1], "\"a.b\".c");
    assert_string_equal(cfg->objects.include.items[2], "!sales.tmp_*");
    assert_int_equal(cfg->objects.exclude.count, 1);
    const ConfigPair *pair = cfg->objects.rename.schemas.items;
    assert_int_equal(cfg->objects.rename.schemas.count, 2);
    assert_string_equal(pair[0].key, "sales");
    assert_string_equal(pair[0].value, "shop sales");
    assert_string_equal(pair[1].key, "a.b");
    pair = cfg->objects.rename.tables.items;
    assert_string_equal(pair->key, "public.customer");
    assert_string_equal(pair->value, "\"cr.m\".client");
    pair = cfg->objects.rename.columns.items;
    assert_int_equal(cfg->objects.rename.columns.count, 2);
    assert_string_equal(pair[0].key, "public.customer.nm");
    assert_string_equal(pair[1].key, "public.customer.x.y");
    assert_int_equal(cfg->objects.letter_case, CASE_UPPER);
    assert_string_equal(cfg->objects.where.items[0].value, "a > 1, b");
    pair = cfg->objects.columns.items;
    assert_int_equal(cfg->objects.columns.count, 2);
    assert_string_equal(pair[1].key, "sales.orders");
    assert_string_equal(pair[1].value, "total");
    assert_true(cfg->objects.dml[0] && !cfg->objects.dml[1] && !cfg->objects.dml[2] && cfg->objects.dml[3]);
    assert_int_equal(cfg->objects.table_dml.count, 2);
    assert_string_equal(cfg->objects.table_dml.items[1].key, "sales.*");
    assert_string_equal(cfg->objects.table_dml.items[1].value, "delete");
    assert_string_equal(cfg->objects.table_conflicts.items[0].value, "skip");
    config_free(cfg);

    const ConfigSetting settings[] = {{"source.dsn", "dbname=a"},
                                      {"target.dsn", "dbname=b"},
                                      {"objects.include", "a.b, c.d"},
                                      {"objects.rename.tables.a.b", "e.f"},
                                      {"objects.tables.a.b.columns", "i,j"}};
    cfg = loaded_by_flags(NULL, settings, 5);
    assert_int_equal(cfg->objects.include.count, 2);
    assert_string_equal(cfg->objects.include.items[1], "c.d");
    assert_string_equal(cfg->objects.rename.tables.items[0].value, "e.f");
    assert_int_equal(cfg->objects.columns.count, 2);
    config_free(cfg);
}

static void objects_are_named_rightly_and_once(void **state) {
    (void)state;
    const char *const hint = "names are written schema.table; one that holds a dot stands in double quotes: "
                             "'\"a.b\".c'";
    refused(SOURCE TARGET "objects: {rename: {tables: {customer: a.b}}}\n",
            "job.yaml:3: \"objects.rename.tables.customer\" does not name what it is for", hint);
    refused(SOURCE TARGET "objects: {rename: {tables: {a.b.c: a.b}}}\n",
            "job.yaml:3: \"objects.rename.tables.a.b.c\" does not name what it is for", hint);
    refused(SOURCE TARGET "objects: {tables: {'\"a.b': {where: x}}}\n",
            "job.yaml:3: \"objects.tables.\"a.b.where\" does not name what it is for", hint);
    refused(SOURCE TARGET "objects: {rename: {columns: {a: {b: c}}}}\n",
            "job.yaml:3: \"objects.rename.columns.a.b\" does not name what it is for", hint);
    refused(SOURCE TARGET "objects: {exclude: [\"!a.b\"]}\n",
            "job.yaml:3: \"objects.exclude\" must be a list, each item schema.table, with * within a part, "
            "not \"!a.b\"",
            NULL);
    refused(SOURCE TARGET "objects: {tables: {a.b: {where: x}, '\"a\".b': {where: y}}}\n",
            "job.yaml: \"objects.tables\" names \"a.b\" twice", NULL);
    refused(SOURCE TARGET "objects: {tables: {a.b: {conflicts: skip}, '\"a\".b': {conflicts: stop}}}\n",
            "job.yaml: \"objects.tables\" names \"a.b\" twice", NULL);
    refused(SOURCE TARGET "objects: {dml: [insert, insert]}\n",
            "job.yaml:3: \"objects.dml\" names the same thing twice", NULL);
    refused(SOURCE TARGET "objects: {tables: {a.b: {columns: [i, j, i]}}}\n",
            "job.yaml: \"objects.tables\" names \"a.b.i\" twice", NULL);
    refused(SOURCE TARGET "objects: {rename: {columns: {a.b: {c.d: x}, '\"a\".b': {c.d: x}}}}\n",
            "job.yaml: \"objects.rename.columns\" names \"a.b.c.d\" twice", NULL);
}

static void a_wrong_key_is_named_with_its_line_and_the_nearest_one(void **state) {
    (void)state;
    refused("name: shop\nsourse:\n\n  dsn: dbname=x\n", "job.yaml:4: unknown key \"sourse.dsn\"",
            "did you mean \"source.dsn\"?");
    refused("phase: [full]\n", "job.yaml:1: unknown key \"phase\"", "did you mean \"phases\"?");
    refused("zzzzzzzz: 1\n", "job.yaml:1: unknown key \"zzzzzzzz\"", "");
    refused("zzzzzzzz: {}\n", "job.yaml:1: unknown key \"zzzzzzzz\"", "");
    refused("\"a\\nb\": 1\n", "job.yaml:1: unknown key \"a?b\"", NULL);
    refused("objects: {tables: {s.t: {wher: x}}}\n", "job.yaml:1: unknown key \"objects.tables.s.t.wher\"",
            "did you mean \"objects.tables.s.t.where\"?");
    refused("source:\n  dsn: dbname=x\nsource.dsn: dbname=y\n",
            "job.yaml:3: \"source.dsn\" stands here a second time, first in line 2", NULL);
    refused("name: a\nname: b\n", "job.yaml:2: the key \"name\" stands here a second time, first in line 1",
            NULL);
}

static void a_wrong_shape_is_named_as_such(void **state) {
    (void)state;
    refused("source: x\n", "job.yaml:1: \"source\" takes keys below it, not a value", NULL);
    refused("kafka: {config: x}\n", "job.yaml:1: \"kafka.config\" takes keys below it, not a value", NULL);
    refused("phases: full\n", "job.yaml:1: \"phases\" takes a list, such as [a, b]", NULL);
    refused("memory: [64MiB]\n", "job.yaml:1: \"memory\" takes one value, not a list", NULL);
    refused("memory: {}\n", "job.yaml:1: \"memory\" takes a value, not keys below it", NULL);
    refused("memory: {max: 64MiB}\n", "job.yaml:1: unknown key \"memory.max\"", NULL);
    refused("memory:\n", "job.yaml:1: \"memory\" has no value", NULL);
    refused("phases: []\n", "job.yaml:1: \"phases\" is an empty list", NULL);
}

static void a_wrong_value_is_named_with_what_would_be_right(void **state) {
    (void)state;
    refused("log: {level: wran}\n",
            "job.yaml:1: \"log.level\" must be one of debug, info, warn, error, not \"wran\"",
            "did you mean \"warn\"?");
    refused("source: {heartbeat: 10m}\n",
            "job.yaml:1: \"source.heartbeat\" must be a duration of 100ms to 1h, or 0, not \"10m\"",
            "the units of a duration are ms, s, min, h and d");
    refused("memory: 64MB\n", "job.yaml:1: \"memory\" must be a size of 16MiB to 64GiB, not \"64MB\"",
            "the units of a size are B, KiB, MiB, GiB and TiB");
    refused("name: My Shop\n", "job.yaml:1: \"name\" must be 1 to 40 of a-z, 0-9 and _, not \"My Shop\"",
            NULL);
    refused("name: aaaaaaaaaabbbbbbbbbbccccccccccdddddddddde\n",
            "job.yaml:1: \"name\" must be 1 to 40 of a-z, 0-9 and _, not "
            "\"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddde\"",
            NULL);
    refused("load: {workers: 2.5}\n",
            "job.yaml:1: \"load.workers\" must be a number of 1 to 128, or auto, not \"2.5\"", NULL);
    refused(SOURCE TARGET "retry: {connection: 1min, other: 2min}\n",
            "job.yaml: \"retry.other\" must not be longer than \"retry.connection\"", NULL);
}

static void phases_are_any_part_of_the_order(void **state) {
    static const struct {
        const char *text;
        bool schema, full, incremental;
    } CASES[] = {{"[schema]", true, false, false},
                 {"[full]", false, true, false},
                 {"[incremental]", false, false, true},
                 {"[schema, full]", true, true, false},
                 {"[full, incremental]", false, true, true},
                 {"[schema, incremental]", true, false, true},
                 {"[schema, full, incremental]", true, true, true}};
    char text[300];
    (void)state;
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        snprintf(text, sizeof text, "%s%sphases: %s\n", SOURCE, TARGET, CASES[n].text);
        Config *cfg = loaded(text);
        assert_int_equal(cfg->phases.schema, CASES[n].schema);
        assert_int_equal(cfg->phases.full, CASES[n].full);
        assert_int_equal(cfg->phases.incremental, CASES[n].incremental);
        config_free(cfg);
    }
    refused("phases: [full, schema]\n",
            "job.yaml:1: \"phases\" must keep the order schema, full, incremental", NULL);
    refused("phases:\n- full\n- full\n", "job.yaml:3: \"phases\" names the same thing twice", NULL);
    refused("phases: [load]\n",
            "job.yaml:1: \"phases\" must be a list, each item one of schema, full, incremental, not \"load\"",
            NULL);
}

static void a_job_without_target_needs_a_file_and_makes_no_schema(void **state) {
    (void)state;
    Config *cfg = loaded("source: {dsn: dbname=shop}\nfile: {path: x.jsonl}\n");
    assert_null(cfg->target.dsn);
    assert_string_equal(cfg->file.path, "x.jsonl");
    assert_true(!cfg->phases.schema && cfg->phases.full && cfg->phases.incremental);
    assert_string_equal(cfg->name, "shop");
    config_free(cfg);
    refused("source: {dsn: dbname=shop}\n", "job.yaml: \"target.dsn\" is missing", NULL);
    refused(TARGET, "job.yaml: \"source.dsn\" is missing", NULL);
    refused("{}", "job.yaml: \"source.dsn\" is missing", NULL);
    refused("source: {dsn: dbname=shop}\nfile: {path: x}\nphases: [schema, full]\n",
            "job.yaml: the phase \"schema\" needs \"target.dsn\"", NULL);
    refused("source: {dsn: dbname=shop, two_phase: yes}\nfile: {path: x}\n",
            "job.yaml: \"source.two_phase\" needs a database as the only destination",
            "without it a prepared transaction arrives whole, when it is committed");
}

/* F40: another job would find its slot or publication made already, and cleanup would take the other's. */
static void names_of_a_job_s_own_things_are_no_names_of_jobs(void **state) {
    (void)state;
    const char *rest = "\nsource: {dsn: dbname=shop}\n" TARGET;
    static const char *const names[] = {"shop_i", "shop_load"};
    for (size_t n = 0; n < 2; n++) {
        char text[200], said[200];
        snprintf(text, sizeof text, "name: %s%s", names[n], rest);
        snprintf(said, sizeof said,
                 "job.yaml: a job's name cannot end in \"%s\": \"dts_sync_%s\" belongs to job \"shop\"",
                 names[n] + 4, names[n]);
        refused(text, said, "set another \"name\"");
    }
}

static void a_name_is_made_from_the_databases_and_cut_to_40(void **state) {
    (void)state;
    Config *cfg = loaded("source: {dsn: \"dbname='Größe 1'\"}\n"
                         "target: {dsn: \"postgresql:///aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbcccccc\"}\n");
    assert_string_equal(cfg->name, "gr__e_1_aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbb");
    assert_int_equal(strlen(cfg->name), JOB_NAME_MAX);
    config_free(cfg);
    refused("source: {dsn: host=a}\n" TARGET,
            "job.yaml: \"name\" is missing, and \"source.dsn\" names no database to make it from",
            "set \"name\"");
    refused("source: {dsn: dbname=a}\ntarget: {dsn: host=a}\n",
            "job.yaml: \"name\" is missing, and \"target.dsn\" names no database to make it from",
            "set \"name\"");
}

static void a_flag_wins_over_the_file_and_a_later_flag_over_an_earlier(void **state) {
    const ConfigSetting settings[] = {{"memory", "32MiB"},
                                      {"existing", "fail"},
                                      {"phases", "full, incremental"},
                                      {"source.dsn", "dbname=one"},
                                      {"source.dsn", "dbname=two"}};
    (void)state;
    file_write("job.yaml",
               slice_text("name: shop\nsource: {dsn: \"${H2_NOT_SET}\"}\nmemory: 1\nexisting: drop\n"
                          "phases: [schema]\n" TARGET));
    Config *cfg = loaded_by_flags("job.yaml", settings, 5);
    assert_int_equal(cfg->memory_bytes, 32 << 20);
    assert_string_equal(cfg->source.dsn, "dbname=two");
    assert_true(!cfg->phases.schema && cfg->phases.full && cfg->phases.incremental);
    config_free(cfg);
}

static void a_job_runs_from_flags_alone(void **state) {
    const ConfigSetting settings[] = {{"source.dsn", "postgresql://db1/a"}, {"target.dsn", "dbname=b"}};
    Error e;
    (void)state;
    Config *cfg = loaded_by_flags(NULL, settings, 2);
    assert_string_equal(cfg->name, "a_b");
    config_free(cfg);
    assert_null(config_load(NULL, settings, 1, &e));
    assert_string_equal(e.text, "\"target.dsn\" is missing");
    assert_null(config_load(NULL, NULL, 0, &e));
    assert_string_equal(e.text, "\"source.dsn\" is missing");
}

static void a_wrong_flag_is_named(void **state) {
    (void)state;
    refused_by_flag("sourse.dsn", "x", "--set sourse.dsn: unknown key \"sourse.dsn\"");
    refused_by_flag("memory", "1", "--set memory: \"memory\" must be a size of 16MiB to 64GiB, not \"1\"");
    refused_by_flag("phases", "full,schema",
                    "--set phases: \"phases\" must keep the order schema, full, incremental");
    refused_by_flag("phases", "", "--set phases: \"phases\" is an empty list");
    refused_by_flag(
        "phases", "full,",
        "--set phases: \"phases\" must be a list, each item one of schema, full, incremental, not \"\"");
    refused_by_flag("source", "x", "--set source: \"source\" takes keys below it, not a value");
    refused_by_flag(
        "objects.dml", "insert,merge",
        "--set objects.dml: \"objects.dml\" must be a list, each item one of insert, update, delete, "
        "truncate, not \"merge\"");
    refused_by_flag("spill.dir", "\xFF", "--set spill.dir: \"spill.dir\": the value is not UTF-8");
    refused_by_flag("", "x", "--set : unknown key \"\"");
}

static void values_come_from_the_environment_and_from_files(void **state) {
    (void)state;
    setenv("H2_PASSWORD", "hunter2", 1);
    setenv("H2_LEVEL", "warn", 1);
    setenv("H2_AGAIN", "${H2_LEVEL}", 1);
    setenv("H2_FOLDER", ".", 1);
    file_write("secret", slice_text("dbname=b password='a\nb'\n"));
    Config *cfg = loaded("source: {dsn: \"postgresql://u:${H2_PASSWORD}@h/a\"}\n"
                         "target: {dsn: \"file:${H2_FOLDER}/secret\"}\n"
                         "log: {level: \"${H2_LEVEL}\"}\n"
                         "spill: {dir: \"$x/${H2_AGAIN}\"}\n");
    assert_string_equal(cfg->source.dsn, "postgresql://u:hunter2@h/a");
    assert_string_equal(cfg->target.dsn, "dbname=b password='a\nb'");
    assert_int_equal(cfg->log.level, LOG_WARN);
    assert_string_equal(cfg->spill.dir, "$x/${H2_LEVEL}");
    config_free(cfg);

    refused("source: {dsn: \"${H2_NOT_SET}\"}\n",
            "job.yaml:1: \"source.dsn\": the environment variable \"H2_NOT_SET\" is not set", NULL);
    refused("source: {dsn: \"dbname=${a b}\"}\n",
            "job.yaml:1: \"source.dsn\": \"${\" is not followed by a variable's name and \"}\"", NULL);
    refused("source: {dsn: \"${1}\"}\n",
            "job.yaml:1: \"source.dsn\": \"${\" is not followed by a variable's name and \"}\"", NULL);
    refused("source: {dsn: \"${HOME\"}\n",
            "job.yaml:1: \"source.dsn\": \"${\" is not followed by a variable's name and \"}\"", NULL);
    refused("source: {dsn: \"file:absent\"}\n",
            "job.yaml:1: \"source.dsn\": cannot read \"absent\": No such file or directory", NULL);
    refused("source: {dsn: \"file:/\"}\n", "job.yaml:1: \"source.dsn\": cannot read \"/\": Is a directory",
            NULL);
    refused("log: {level: \"file:secret\"}\n",
            "job.yaml:1: \"log.level\" must be one of debug, info, warn, error, not \"file:secret\"", NULL);
    file_write("secret", (Slice){"a\0b", 3});
    refused("source: {dsn: \"file:secret\"}\n",
            "job.yaml:1: \"source.dsn\": \"secret\" holds a NUL character", NULL);
}

static void no_message_holds_a_secret(void **state) {
    static const char *const CASES[] = {
        "source: {dsn: \"postgresql://u:hunter2@h:hunter2/x%zz\"}\n",
        "source: {dsn: \"host=a password=my hunter2\"}\n",
        "source: {dsn: hunter2}\n",
        "source: {dsn: \"postgresql://u:${H2_SECRET}@h/x%zz\"}\n",
        "source: {dsn: \"dbname=x hunter2=1\"}\n",
        "name: \"${H2_SECRET} !\"\n",
        "log: {level: \"${H2_SECRET}\"}\n",
        "existing: \"${H2_SECRET}\"\n",
        "kafka: {registry: {password: hunter2}}\n",
        "kafka: {registry: {url: \"x:hunter2\"}}\n",
        "kafka: {config: {sasl.password: hunter2}}\n",
        "alerts: {webhook: \"hunter2\"}\n",
        SOURCE,
    };
    Error e;
    (void)state;
    setenv("H2_SECRET", "hunter2", 1);
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        assert_null(load_text(CASES[n], &e));
        if (strstr(e.text, "hunter2") != NULL || strstr(e.hint, "hunter2") != NULL)
            fail_msg("%s (%s)", e.text, e.hint);
    }
}

static void folders_follow_systemd_and_xdg(void **state) {
    const char *text = "name: shop\n" SOURCE TARGET;
    (void)state;
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    setenv("XDG_STATE_HOME", "/home/u/.local/state", 1);
    Config *cfg = loaded(text);
    assert_string_equal(cfg->control_socket, "/run/user/7/walferry/shop.sock");
    assert_string_equal(cfg->spill.dir, "/home/u/.local/state/walferry/shop");
    config_free(cfg);

    setenv("RUNTIME_DIRECTORY", "/run/walferry:/run/other", 1);
    setenv("STATE_DIRECTORY", "/var/lib/walferry", 1);
    cfg = loaded(text);
    assert_string_equal(cfg->control_socket, "/run/walferry/shop.sock");
    assert_string_equal(cfg->spill.dir, "/var/lib/walferry");
    config_free(cfg);

    char folder[200] = "/", expected[400];
    memset(folder + 1, 'r', 97); /* with /shop.sock: 108 bytes */
    setenv("RUNTIME_DIRECTORY", folder, 1);
    snprintf(expected, sizeof expected,
             "job.yaml: the control socket's path \"%s/shop.sock\" is longer than 107 bytes", folder);
    refused(text, expected, "set RUNTIME_DIRECTORY or XDG_RUNTIME_DIR to a shorter folder");
    folder[97] = '\0';
    setenv("RUNTIME_DIRECTORY", folder, 1);
    config_free(loaded(text));
}

static void an_unreadable_job_file_is_one_clear_sentence(void **state) {
    Error e;
    (void)state;
    assert_null(config_load("absent.yaml", NULL, 0, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_string_equal(e.text, "the job file: cannot read \"absent.yaml\": No such file or directory");
    assert_null(config_load("/", NULL, 0, &e));
    assert_string_equal(e.text, "the job file: cannot read \"/\": Is a directory");
    refused("", "job.yaml: the job file is empty", NULL);
    refused("- a\n", "job.yaml:1: the job file must consist of keys such as \"source:\"", NULL);

    Writer large = writer_new(2 << 20);
    while (large.len <= 1 << 20)
        writer_text(&large, "# padding padding padding padding padding padding padding\n");
    file_write("job.yaml", writer_slice(&large));
    assert_null(config_load("job.yaml", NULL, 0, &e));
    assert_string_equal(e.text, "the job file: \"job.yaml\" is larger than 1024KiB");
    writer_free(&large);
}

static void a_part_needs_a_name_alone(void **state) {
    const ConfigSetting by_name[] = {{"name", "shop"}}, by_source[] = {{"source.dsn", "dbname=a"}};
    Error e;
    (void)state;
    Config *cfg = config_load_part(NULL, by_name, 1, &e);
    assert_non_null(cfg);
    assert_null(cfg->source.dsn);
    assert_string_equal(cfg->slot, "dts_sync_shop");
    config_free(cfg);
    cfg = config_load_part(NULL, by_source, 1, &e);
    assert_non_null(cfg);
    assert_string_equal(cfg->name, "a");
    config_free(cfg);
    assert_null(config_load_part(NULL, NULL, 0, &e));
    assert_string_equal(e.text, "\"name\" is missing");
    config_free(NULL);
}

static void a_shorter_retry_window_shortens_the_other_default(void **state) {
    (void)state;
    Config *cfg = loaded(SOURCE TARGET "retry: {connection: 5s}\n");
    assert_int_equal(cfg->retry.connection_ms, 5000);
    assert_int_equal(cfg->retry.other_ms, 5000);
    config_free(cfg);
}

#define FOLDER_TEST(name) cmocka_unit_test_setup_teardown(name, folder_enter, folder_leave)

int main(void) {
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(two_dsns_are_enough_and_bring_every_default),
        FOLDER_TEST(every_available_key_is_stored),
        FOLDER_TEST(documented_defaults_of_later_keys_are_taken),
        FOLDER_TEST(free_keys_may_be_several),
        FOLDER_TEST(routes_are_kept_in_their_order),
        FOLDER_TEST(routes_that_cannot_be_are_refused),
        FOLDER_TEST(what_comes_later_is_answered_so_with_its_line),
        FOLDER_TEST(objects_are_kept_as_they_were_written),
        FOLDER_TEST(objects_are_named_rightly_and_once),
        FOLDER_TEST(a_wrong_key_is_named_with_its_line_and_the_nearest_one),
        FOLDER_TEST(a_wrong_shape_is_named_as_such),
        FOLDER_TEST(a_wrong_value_is_named_with_what_would_be_right),
        FOLDER_TEST(phases_are_any_part_of_the_order),
        FOLDER_TEST(a_job_without_target_needs_a_file_and_makes_no_schema),
        FOLDER_TEST(names_of_a_job_s_own_things_are_no_names_of_jobs),
        FOLDER_TEST(a_name_is_made_from_the_databases_and_cut_to_40),
        FOLDER_TEST(a_flag_wins_over_the_file_and_a_later_flag_over_an_earlier),
        FOLDER_TEST(a_job_runs_from_flags_alone),
        FOLDER_TEST(a_wrong_flag_is_named),
        FOLDER_TEST(values_come_from_the_environment_and_from_files),
        FOLDER_TEST(no_message_holds_a_secret),
        FOLDER_TEST(folders_follow_systemd_and_xdg),
        FOLDER_TEST(an_unreadable_job_file_is_one_clear_sentence),
        FOLDER_TEST(a_part_needs_a_name_alone),
        FOLDER_TEST(a_shorter_retry_window_shortens_the_other_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
