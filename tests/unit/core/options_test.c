#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/config.h"
#include "core/config_yaml.h"
#include "core/options.h"

#include <cmocka.h> /* last: its fail() would break the prototype of ours */

/* One right and one wrong value for every row of the table; NULL: a text that is too long. */
typedef struct Sample {
    const char *key, *right, *wrong;
} Sample;

static const Sample SAMPLES[] = {
    {"name", "shop_1", "My Shop"},
    {"source.dsn", "postgresql://reader@db1/shop", ""},
    {"source.heartbeat", "500ms", "99ms"},
    {"source.heartbeat_table", "ops.beat", "beat"},
    {"source.publication", "dts_sync_shop", ""},
    {"source.two_phase", "yes", "maybe"},
    {"target.dsn", "host=new dbname=shop", ""},
    {"target.dialect", "greenplum", "mysql"},
    {"target.state_schema", "walferry2", "pg_state"},
    {"target.gear", "live", "fast"},
    {"target.workers", "4", "17"},
    {"target.storage", "ao_row", "tape"},
    {"target.apply_latency", "2s", "2"},
    {"phases[]", "incremental", "load"},
    {"identity", "insert-only", "insert_only"},
    {"schema.pg_dump", "/usr/bin/pg_dump", ""},
    {"schema.roles", "yes", "1"},
    {"schema.event_triggers", "off", "2"},
    {"objects.include[]", "!sales.*", "sales"},
    {"objects.exclude[]", "sales.tmp_*", "!sales.tmp_*"},
    {"objects.rename.schemas.*", "shop_sales", ""},
    {"objects.rename.tables.*", "crm.client", "client"},
    {"objects.rename.columns.*.*", "name", ""},
    {"objects.case", "lower", "Lower"},
    {"objects.dml[]", "truncate", "select"},
    {"objects.tables.*.where", "id >= 1000000", ""},
    {"objects.tables.*.columns[]", "placed", ""},
    {"objects.tables.*.dml[]", "insert", "merge"},
    {"objects.tables.*.conflicts", "skip", "ignore"},
    {"objects.tables.*.key[]", "id", ""},
    {"objects.tables.*.distributed_by[]", "id", ""},
    {"existing", "keep", "ignore"},
    {"conflicts", "source-wins", "target-wins"},
    {"ddl", "apply", "skip"},
    {"load.workers", "16", "0"},
    {"load.split_above", "10GiB", "10GB"},
    {"load.owners", "destination-user", "nobody"},
    {"load.privileges", "no", "some"},
    {"throttle.load.queries_per_s", "100", "100/s"},
    {"throttle.load.rows_per_s", "5000", "-1"},
    {"throttle.load.bytes_per_s", "10MiB", "10"},
    {"throttle.apply.rows_per_s", "0", "1.5"},
    {"throttle.apply.bytes_per_s", "1KiB", "1k"},
    {"retry.connection", "1440min", "1441min"},
    {"retry.other", "90s", "90"},
    {"memory", "64MiB", "15MiB"},
    {"log.level", "debug", "trace"},
    {"log.format", "json", "xml"},
    {"spill.dir", "/var/lib/walferry/shop", ""},
    {"spill.max", "20GiB", "20GB"},
    {"file.path", "changes.jsonl", ""},
    {"kafka.brokers", "k1:9092,k2:9092", ""},
    {"kafka.prefix", "shop", ""},
    {"kafka.format", "avro", "xml"},
    {"kafka.json_schema", "yes", "full"},
    {"kafka.envelope", "row+headers", "rows"},
    {"kafka.control", "shop.walferry", ""},
    {"kafka.groups", "no", "none"},
    {"kafka.topics.create", "yes", "auto"},
    {"kafka.topics.partitions", "1", "0"},
    {"kafka.topics.replication", "-1", "-2"},
    {"kafka.topics.config.*", "compact", ""},
    {"kafka.topics.route[].match", "shop.public.(.*)", ""},
    {"kafka.topics.route[].to", "shop.$1", ""},
    {"kafka.topics.route[].key_field", "table", ""},
    {"kafka.tombstones", "no", "none"},
    {"kafka.context_headers", "yes", "all"},
    {"kafka.schema_changes", "yes", "debezium"},
    {"kafka.toast", "absent", "null"},
    {"kafka.special", "fail", "stop"},
    {"kafka.transactions", "debezium", "yes"},
    {"kafka.refused", "dead-letter", "skip"},
    {"kafka.registry.url", "https://registry:8081, http://u:p@other/sr",
     "https://registry:8081,registry:8081"},
    {"kafka.registry.ca", "/etc/ssl/registry.pem", ""},
    {"kafka.registry.user", "reader", ""},
    {"kafka.registry.password", "hunter2", ""},
    {"kafka.delivery", "at-least-once", "at-most-once"},
    {"kafka.config.*", "SASL_SSL", ""},
    {"guard.retained_wal_alert", "10GiB", "10"},
    {"guard.retained_wal_limit", "50GiB", "0"},
    {"guard.at_limit", "spool", "drop"},
    {"metrics.listen", "127.0.0.1:9187", "9187"},
    {"alerts.latency", "10s", "10"},
    {"alerts.command", "/usr/bin/true", NULL},
    {"alerts.webhook", "https://hooks/x", "ftp://hooks/x"},
    {"replay.group", "shop-replica", ""},
    {"replay.from", "lsn:0/16B3748", "lsn:16B3748"},
    {"replay.until", "time:2026-11-21T04:00:00Z", "time:yesterday"},
    {"replay.order", "per-key", "any"},
    {"replay.create_tables", "yes", "always"},
    {"replay.new_columns", "add", "drop"},
    {"replay.poison", "dead-letter", "skip"},
};
enum { SAMPLE_COUNT = sizeof SAMPLES / sizeof *SAMPLES, LONG_BYTES = 5000 };

static const Option *row_of(const char *key) {
    size_t count;
    const Option *table = options_table(&count);
    for (size_t row = 0; row < count; row++)
        if (strcmp(table[row].key, key) == 0)
            return &table[row];
    return NULL;
}

static void every_row_takes_a_right_value_and_refuses_a_wrong_one(void **state) {
    char long_text[LONG_BYTES + 1];
    size_t count;
    OptionValue value;
    (void)state;
    options_table(&count);
    assert_int_equal(count, SAMPLE_COUNT);
    memset(long_text, 'x', LONG_BYTES);
    long_text[LONG_BYTES] = '\0';
    for (const Sample *sample = SAMPLES; sample < SAMPLES + SAMPLE_COUNT; sample++) {
        const Option *row = row_of(sample->key);
        if (row == NULL)
            fail_msg("no row \"%s\"", sample->key);
        if (!option_parse(row, sample->right, &value))
            fail_msg("%s refuses \"%s\"", sample->key, sample->right);
        if (option_parse(row, sample->wrong == NULL ? long_text : sample->wrong, &value))
            fail_msg("%s takes \"%s\"", sample->key, sample->wrong);
    }
}

static void every_row_is_well_formed(void **state) {
    size_t count;
    OptionValue value;
    (void)state;
    const Option *table = options_table(&count);
    for (const Option *row = table; row < table + count; row++) {
        assert_true(row->help != NULL && row->help[0] != '\0');
        assert_true(row->help[strlen(row->help) - 1] != '.');
        assert_int_equal(row->type == OPTION_CHOICE, row->choices != NULL);
        assert_int_equal(row->reach == OPTION_ONLY, row->only != NULL);
        assert_true(row->stored || row->reach != OPTION_NOW);
        for (const Option *other = table; other < row; other++)
            assert_string_not_equal(row->key, other->key);
        if (row->default_text == NULL || row->computed || option_is_list(row))
            continue;
        if (!option_parse(row, row->default_text, &value) || !option_available(row, &value))
            fail_msg("%s does not take its default \"%s\"", row->key, row->default_text);
    }
}

static void an_option_of_later_takes_its_default_in_any_spelling_and_nothing_else(void **state) {
    static const struct {
        const char *key, *value;
        bool available;
    } CASES[] = {{"guard.at_limit", "alert", true},        {"guard.at_limit", "spool", false},
                 {"target.apply_latency", "1s", true},     {"target.apply_latency", "1000ms", true},
                 {"target.apply_latency", "2s", false},    {"guard.at_limit", "spool", false},
                 {"kafka.toast", "absent", true},          {"kafka.toast", "complete", true},
                 {"kafka.transactions", "debezium", true}, {"load.privileges", "off", true},
                 {"load.privileges", "on", true},          {"target.dialect", "postgresql", true},
                 {"target.dialect", "greenplum", false},   {"load.split_above", "auto", true},
                 {"load.split_above", "1GiB", true},       {"throttle.apply.bytes_per_s", "0", true},
                 {"throttle.apply.rows_per_s", "1", true}};
    (void)state;
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        OptionValue value;
        const Option *row = row_of(CASES[n].key);
        assert_true(option_parse(row, CASES[n].value, &value));
        if (option_available(row, &value) != CASES[n].available)
            fail_msg("%s: %s", CASES[n].key, CASES[n].value);
    }
}

static void a_key_finds_its_row_through_free_keys_that_hold_dots(void **state) {
    static const struct {
        const char *key, *row;
    } CASES[] = {{"source.dsn", "source.dsn"},
                 {"phases[]", "phases[]"},
                 {"objects.tables.sales.orders.where", "objects.tables.*.where"},
                 {"objects.tables.sales.orders.columns[]", "objects.tables.*.columns[]"},
                 {"objects.rename.columns.public.customer.nm", "objects.rename.columns.*.*"},
                 {"kafka.config.security.protocol", "kafka.config.*"},
                 {"kafka.topics.route[].to", "kafka.topics.route[].to"},
                 {"phases", NULL},
                 {"source", NULL},
                 {"source.dsn.x", NULL},
                 {"objects.tables.where", NULL},
                 {"objects.tables..where", NULL},
                 {"objects.rename.columns.nm", NULL},
                 {"kafka.config.", NULL},
                 {"kafka.config.a[]", NULL},
                 {"", NULL}};
    (void)state;
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        const Option *row = option_find(CASES[n].key);
        if (CASES[n].row == NULL ? row != NULL : row == NULL || strcmp(row->key, CASES[n].row) != 0)
            fail_msg("\"%s\" finds %s", CASES[n].key, row == NULL ? "nothing" : row->key);
    }
}

static void a_mistyped_key_is_answered_with_the_nearest_one(void **state) {
    static const struct {
        const char *key, *nearest;
    } CASES[] = {{"sourse.dsn", "source.dsn"},
                 {"nmae", "name"},
                 {"phase[]", "phases"},
                 {"objects.tables.sales.orders.wher", "objects.tables.sales.orders.where"},
                 {"objcts.tables.sales.orders.where", "objects.tables.sales.orders.where"},
                 {"kafka.conifg.security.protocol", "kafka.config.security.protocol"},
                 {"object.rename.columns.public.customer.nm", "objects.rename.columns.public.customer.nm"},
                 {"completely.else.where", NULL},
                 {"", NULL}};
    char nearest[300];
    (void)state;
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        bool found = option_nearest(CASES[n].key, nearest, sizeof nearest);
        assert_int_equal(found, CASES[n].nearest != NULL);
        if (found)
            assert_string_equal(nearest, CASES[n].nearest);
    }
}

static void a_very_long_key_has_no_nearest_one(void **state) {
    char key[LONG_BYTES + 1], nearest[300];
    (void)state;
    memset(key, 'a', LONG_BYTES);
    key[LONG_BYTES] = '\0';
    assert_false(option_nearest(key, nearest, sizeof nearest));
    key[255] = '\0';
    assert_false(option_nearest(key, nearest, sizeof nearest));
}

static void a_described_option_names_its_range_units_and_choices(void **state) {
    static const struct {
        const char *key, *text;
    } CASES[] = {{"source.heartbeat", "a duration of 100ms to 1h, or 0"},
                 {"memory", "a size of 16MiB to 64GiB"},
                 {"load.workers", "a number of 1 to 128, or auto"},
                 {"identity", "one of fail, full, insert-only"},
                 {"phases[]", "a list, each item one of schema, full, incremental"},
                 {"name", "1 to 40 of a-z, 0-9 and _"}};
    Writer w = writer_new(1000);
    (void)state;
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        writer_reset(&w);
        option_describe(row_of(CASES[n].key), &w);
        assert_string_equal(writer_string(&w), CASES[n].text);
    }
    writer_free(&w);
}

typedef struct Visited {
    size_t count;
    const char *dialect_found;
    bool right;
} Visited;

static void visit(void *context, const char *key, const char *type, const char *default_text,
                  const char *help, bool available) {
    Visited *seen = context;
    size_t count;
    const Option *row = &options_table(&count)[seen->count++];
    seen->right = seen->right && strcmp(row->key, key) == 0 && row->default_text == default_text &&
                  row->help == help && type[0] != '\0' && available == (row->reach != OPTION_LATER);
    if (strcmp(key, "target.dialect") == 0)
        seen->dialect_found = strstr(type, "(in this version: auto, postgresql)") != NULL ? key : NULL;
}

static void a_visit_sees_every_row_in_order(void **state) {
    Visited seen = {.right = true};
    size_t count;
    (void)state;
    options_table(&count);
    config_visit(visit, &seen);
    assert_int_equal(seen.count, count);
    assert_true(seen.right);
    assert_non_null(seen.dialect_found);
}

/* The example of the requirements, without its comments. */
static const char WHOLE_FILE[] =
    "name: shop\n"
    "source:\n"
    "  dsn: postgresql://reader@db1,db2/shop?sslmode=verify-full&target_session_attrs=read-write\n"
    "  heartbeat: 1s\n"
    "  heartbeat_table: public.dts_postgres_heartbeat\n"
    "  publication: dts_sync_shop\n"
    "  two_phase: no\n"
    "target:\n"
    "  dsn: postgresql://loader@new/shop\n"
    "  dialect: auto\n"
    "  state_schema: walferry\n"
    "  storage: heap\n"
    "  apply_latency: 1s\n"
    "phases: [schema, full, incremental]\n"
    "identity: fail\n"
    "schema:   {pg_dump: auto, roles: no, event_triggers: no}\n"
    "objects:\n"
    "  include: [\"sales.*\", \"public.customer\"]\n"
    "  exclude: [\"sales.tmp_*\"]\n"
    "  rename:\n"
    "    schemas: {sales: shop_sales}\n"
    "    tables:  {public.customer: crm.client}\n"
    "    columns: {public.customer: {nm: name}}\n"
    "  case: keep\n"
    "  dml: [insert, update, delete, truncate]\n"
    "  tables:\n"
    "    sales.orders: {where: \"id >= 1000000\", columns: [id, placed, total], dml: [insert, update], key: "
    "[id], distributed_by: [id]}\n"
    "existing: fail\n"
    "conflicts: stop\n"
    "ddl: stop\n"
    "load:     {workers: auto, split_above: auto, owners: destination-user, privileges: no}\n"
    "throttle: {load: {queries_per_s: 0, rows_per_s: 0, bytes_per_s: 0}, apply: {rows_per_s: 0, bytes_per_s: "
    "0}}\n"
    "retry:    {connection: 720min, other: 10min}\n"
    "memory: 128MiB\n"
    "log:      {level: info, format: text}\n"
    "spill:    {dir: /var/lib/walferry/shop, max: 20GiB}\n"
    "file:     {path: changes.jsonl}\n"
    "kafka:\n"
    "  brokers: k1:9092,k2:9092\n"
    "  prefix: shop\n"
    "  format: avro\n"
    "  json_schema: no\n"
    "  envelope: debezium\n"
    "  control: shop.walferry\n"
    "  topics: {create: yes, partitions: 1, replication: -1, config: {}, route: [{match: "
    "\"shop.public.(.*)\", to: \"shop.$1\"}]}\n"
    "  tombstones: yes\n"
    "  toast: placeholder\n"
    "  special: header\n"
    "  transactions: no\n"
    "  refused: stop\n"
    "  registry: {url: \"https://registry:8081\", user: \"${SR_USER}\", password: \"file:/run/secrets/sr\"}\n"
    "  delivery: exactly-once\n"
    "  config: {security.protocol: SASL_SSL}\n"
    "guard:    {retained_wal_alert: 10GiB, retained_wal_limit: 50GiB, at_limit: alert}\n"
    "metrics:  {listen: \"127.0.0.1:9187\"}\n"
    "alerts:   {latency: 10s, command: \"\", webhook: \"\"}\n"
    "replay: {group: shop-replica, from: beginning, until: end, order: transactional, create_tables: no, "
    "new_columns: stop, poison: stop}\n";

static void the_whole_job_file_of_the_requirements_is_known(void **state) {
    Arena *arena = arena_new();
    ConfigEntries entries;
    Error e = {0};
    OptionValue value;
    (void)state;
    if (!config_yaml_parse(arena, "job.yaml", slice_text(WHOLE_FILE), &entries, &e))
        fail_msg("%s", e.text);
    for (size_t n = 0; n < entries.count; n++) {
        const ConfigEntry *entry = &entries.items[n];
        const Option *row = option_find(entry->key);
        bool secret_by_file = row != NULL && row->secret;
        if (entry->shape == SHAPE_EMPTY_MAPPING && option_section(entry->key))
            continue;
        if (row == NULL || (!secret_by_file && !option_parse(row, entry->value, &value)))
            fail_msg("line %d: %s: \"%s\"", entry->line, entry->key, entry->value);
    }
    assert_true(entries.count > 90);
    config_entries_free(&entries);
    arena_free(arena);
}

static void a_position_and_an_address_are_read_whole(void **state) {
    static const struct {
        const char *key, *value;
        bool right;
    } CASES[] = {{"replay.from", "beginning", true},
                 {"replay.from", "end", true},
                 {"replay.from", "xid:571", true},
                 {"replay.from", "xid:0", false},
                 {"replay.from", "time:2026-11-21T04:00:00.25+01:00", true},
                 {"replay.from", "time:2026-11-21T04:00:00", false},
                 {"replay.from", "time:2026-13-21T04:00:00Z", false},
                 {"metrics.listen", "[::1]:9187", true},
                 {"metrics.listen", "::1:9187", false},
                 {"metrics.listen", "localhost:0", false},
                 {"metrics.listen", "localhost:65536", false},
                 {"target.state_schema", "information_schema", false},
                 {"source.heartbeat", "0", true},
                 {"source.heartbeat", "61min", false},
                 {"load.workers", "auto", true},
                 {"memory", "auto", false}};
    (void)state;
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        OptionValue value;
        if (option_parse(row_of(CASES[n].key), CASES[n].value, &value) != CASES[n].right)
            fail_msg("%s: %s", CASES[n].key, CASES[n].value);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_takes_a_right_value_and_refuses_a_wrong_one),
        cmocka_unit_test(every_row_is_well_formed),
        cmocka_unit_test(an_option_of_later_takes_its_default_in_any_spelling_and_nothing_else),
        cmocka_unit_test(a_key_finds_its_row_through_free_keys_that_hold_dots),
        cmocka_unit_test(a_mistyped_key_is_answered_with_the_nearest_one),
        cmocka_unit_test(a_very_long_key_has_no_nearest_one),
        cmocka_unit_test(a_described_option_names_its_range_units_and_choices),
        cmocka_unit_test(a_visit_sees_every_row_in_order),
        cmocka_unit_test(the_whole_job_file_of_the_requirements_is_known),
        cmocka_unit_test(a_position_and_an_address_are_read_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
