#include <stdio.h>
#include <string.h>

#include "job/status.h"
#include "testing.h"

static char shop[] = "shop", slot[] = "dts_sync_shop", schema[] = "walferry";

static Config config_make(void) {
    Config cfg = {.name = shop, .slot = slot};
    cfg.source.heartbeat_ms = 1000;
    cfg.target.state_schema = schema;
    cfg.phases.schema = cfg.phases.full = cfg.phases.incremental = true;
    return cfg;
}

static json_t *status_of(const Config *cfg, Metrics *m) {
    Throttle *throttle = throttle_new();
    throttle_set(throttle, THROTTLE_ROWS, 5000, 0);
    json_t *status = status_running(cfg, m, throttle, throttle);
    throttle_free(throttle);
    return status;
}

/* The keys of an object in the order in which they were put, separated by spaces. */
static void keys_are(const json_t *object, const char *expected) {
    char keys[400] = "";
    const char *key;
    json_t *value;
    assert_true(json_is_object(object));
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        size_t used = strlen(keys);
        snprintf(keys + used, sizeof keys - used, "%s%s", used > 0 ? " " : "", key);
    }
    assert_string_equal(keys, expected);
}

static void status_has_exactly_the_documented_keys(void **unused) {
    (void)unused;
    static const char *const names[] = {"public.a"};
    Config cfg = config_make();
    Metrics *m = metrics_new();
    metrics_tables(m, names, names, 1);
    json_t *status = status_of(&cfg, m);
    keys_are(status, "job phase state reason since source slot applied_lsn lag tables builds totals audit "
                     "throttle gear workers "
                     "rss_bytes error");
    keys_are(json_object_get(json_object_get(status, "throttle"), "load"),
             "queries_per_s rows_per_s bytes_per_s");
    keys_are(json_object_get(json_object_get(status, "throttle"), "apply"), "rows_per_s bytes_per_s");
    keys_are(json_object_get(status, "source"), "system_identifier timeline lsn");
    keys_are(json_object_get(status, "slot"),
             "name confirmed_lsn restart_lsn wal_status safe_wal_bytes retained_bytes");
    keys_are(json_object_get(status, "lag"), "bytes ms stages");
    keys_are(json_object_get(json_object_get(status, "lag"), "stages"),
             "received_ms decoded_ms queued_ms applied_ms");
    keys_are(json_array_get(json_object_get(status, "tables"), 0),
             "name target state rows rows_estimated bytes bytes_per_s left_ms changes");
    keys_are(json_object_get(json_array_get(json_object_get(status, "tables"), 0), "changes"),
             "insert update delete truncate received left_out equal");
    keys_are(json_object_get(status, "totals"),
             "rows_copied changes transactions bytes conflicts dead_letters left_out retries early "
             "early_given_up");
    json_decref(status);
    metrics_free(m);
}

static json_t *at(const json_t *status, const char *object, const char *key) {
    return json_object_get(json_object_get(status, object), key);
}

static void what_is_not_known_is_null(void **unused) {
    (void)unused;
    Config cfg = config_make();
    Metrics *m = metrics_new();
    json_t *status = status_of(&cfg, m);
    assert_true(json_is_null(json_object_get(status, "reason")));
    assert_true(json_is_null(json_object_get(status, "error")));
    assert_true(json_is_null(json_object_get(status, "applied_lsn")));
    assert_true(json_is_null(at(status, "source", "system_identifier")));
    assert_true(json_is_null(at(status, "source", "timeline")));
    assert_true(json_is_null(at(status, "source", "lsn")));
    assert_true(json_is_null(at(status, "slot", "retained_bytes")));
    assert_true(json_is_null(at(status, "slot", "safe_wal_bytes")));
    assert_true(json_is_null(at(status, "lag", "bytes")));
    assert_true(json_is_null(at(status, "lag", "ms")));
    json_decref(status);
    metrics_free(m);
}

static void numbers_are_numbers_and_positions_texts(void **unused) {
    (void)unused;
    Config cfg = config_make();
    Metrics *m = metrics_new();
    m->system_id = UINT64_C(18446744073709551615);
    m->timeline = 3;
    atomic_store(&m->since_us, INT64_C(1795233600000000));
    atomic_store(&m->source_lsn, UINT64_C(0x1600000100));
    atomic_store(&m->applied_lsn, UINT64_C(0x1600000000));
    atomic_store(&m->retained_bytes, 0);
    atomic_store(&m->rows_copied, 5);
    atomic_store(&m->bytes, 10);
    atomic_store(&m->bytes_copied, 32);
    snprintf(m->wal_status, sizeof m->wal_status, "reserved");
    json_t *status = status_of(&cfg, m);
    assert_string_equal(json_string_value(json_object_get(status, "job")), "shop");
    assert_string_equal(json_string_value(json_object_get(status, "since")), "2026-11-21T04:00:00Z");
    assert_string_equal(json_string_value(json_object_get(status, "applied_lsn")), "16/0");
    assert_string_equal(json_string_value(at(status, "source", "system_identifier")), "18446744073709551615");
    assert_int_equal(json_integer_value(at(status, "source", "timeline")), 3);
    assert_int_equal(json_integer_value(at(status, "lag", "bytes")), 256);
    assert_true(json_is_integer(at(status, "slot", "retained_bytes")));
    assert_true(json_is_null(at(status, "slot", "safe_wal_bytes")));
    assert_int_equal(json_integer_value(at(status, "totals", "rows_copied")), 5);
    assert_int_equal(json_integer_value(at(status, "totals", "bytes")), 42);
    assert_true(json_integer_value(json_object_get(status, "rss_bytes")) > 0);
    json_decref(status);
    metrics_free(m);
}

static void a_table_says_how_far_it_is(void **unused) {
    (void)unused;
    static const char *const names[] = {"public.a", "public.b"};
    static const char *const targets[] = {"public.a", "crm.b"};
    Config cfg = config_make();
    Metrics *m = metrics_new();
    metrics_tables(m, names, targets, 2);
    atomic_store(&m->tables[1].stage, TABLE_COPYING);
    atomic_store(&m->tables[1].rows, 7);
    atomic_store(&m->tables[1].rows_estimated, -1);
    json_t *status = status_of(&cfg, m);
    const json_t *tables = json_object_get(status, "tables"), *second = json_array_get(tables, 1);
    assert_int_equal(json_array_size(tables), 2);
    assert_string_equal(json_string_value(json_object_get(second, "name")), "public.b");
    assert_string_equal(json_string_value(json_object_get(second, "target")), "crm.b");
    assert_string_equal(json_string_value(json_object_get(second, "state")), "copying");
    assert_int_equal(json_integer_value(json_object_get(second, "rows")), 7);
    assert_true(json_is_null(json_object_get(second, "rows_estimated")));
    json_decref(status);
    metrics_free(m);
}

static void a_job_without_changes_has_no_slot(void **unused) {
    (void)unused;
    Config cfg = config_make();
    Metrics *m = metrics_new();
    cfg.phases.incremental = false;
    json_t *status = status_of(&cfg, m);
    assert_true(json_is_null(at(status, "slot", "name")));
    json_decref(status);
    metrics_free(m);
}

static void a_message_that_is_not_utf8_is_still_shown(void **unused) {
    (void)unused;
    Config cfg = config_make();
    Metrics *m = metrics_new();
    metrics_error(m, "relation \"gr\xfc\xdf\x65\" does not exist");
    json_t *status = status_of(&cfg, m);
    assert_string_equal(json_string_value(json_object_get(status, "error")),
                        "relation \"gr??e\" does not exist");
    json_decref(status);
    metrics_free(m);
}

static void lag_grows_while_the_next_beat_is_overdue(void **unused) {
    (void)unused;
    Config cfg = config_make();
    Metrics *m = metrics_new();
    assert_int_equal(status_lag_ms(&cfg, m, 5000000), -1);
    atomic_store(&m->lag_ms, 40);
    atomic_store(&m->beat_applied_us, 5000000);
    assert_int_equal(status_lag_ms(&cfg, m, 5900000), 40);
    assert_int_equal(status_lag_ms(&cfg, m, 6000000), 40);
    assert_int_equal(status_lag_ms(&cfg, m, 9000000), 3040);
    cfg.source.heartbeat_ms = 0;
    assert_int_equal(status_lag_ms(&cfg, m, 9000000), 40);
    metrics_free(m);
}

static void the_peak_is_not_below_what_is_used_now(void **unused) {
    (void)unused;
    int64_t now_bytes = status_rss_bytes();
    assert_true(now_bytes > 100 * 1024);
    assert_true(status_peak_rss_bytes() >= now_bytes);
}

static void nothing_readable_is_an_error_that_names_the_target(void **unused) {
    (void)unused;
    static char nowhere[] = "host=/nonexistent dbname=shop user=nobody connect_timeout=2";
    Config cfg = config_make();
    Error e = {0};
    cfg.source.dsn = cfg.target.dsn = nowhere;
    assert_null(status_stored(&cfg, &e));
    assert_int_not_equal(e.kind, ERR_NONE);
    assert_non_null(strstr(e.text, "target"));
}

static void a_job_known_by_name_alone_needs_a_server(void **unused) {
    (void)unused;
    Config cfg = config_make();
    Error e = {0};
    assert_null(status_stored(&cfg, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "\"shop\""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_has_exactly_the_documented_keys),
        cmocka_unit_test(what_is_not_known_is_null),
        cmocka_unit_test(numbers_are_numbers_and_positions_texts),
        cmocka_unit_test(a_table_says_how_far_it_is),
        cmocka_unit_test(a_job_without_changes_has_no_slot),
        cmocka_unit_test(a_message_that_is_not_utf8_is_still_shown),
        cmocka_unit_test(lag_grows_while_the_next_beat_is_overdue),
        cmocka_unit_test(the_peak_is_not_below_what_is_used_now),
        cmocka_unit_test(nothing_readable_is_an_error_that_names_the_target),
        cmocka_unit_test(a_job_known_by_name_alone_needs_a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
