#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink/kafka/topics.h"
#include "testing.h"

static void names_are_clean_and_short(void **unused) {
    (void)unused;
    char prefix[] = "shop", name[TOPIC_NAME_MAX + 1], table[400];
    Config cfg = {.kafka = {.prefix = prefix}};
    topic_of_table(&cfg, "public", "orders", name);
    assert_string_equal(name, "shop.public.orders");
    topic_of_table(&cfg, "pub lic", "a.b-c_d/e\"", name);
    assert_string_equal(name, "shop.pub_lic.a.b-c_d_e_");
    /* as Java counts: one "_" for each character of UTF-16 */
    topic_of_table(&cfg, "p", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z", name);
    assert_string_equal(name, "shop.p.____z");
    memset(table, 'x', sizeof table - 1);
    table[sizeof table - 1] = '\0';
    topic_of_table(&cfg, "public", table, name);
    assert_int_equal(strlen(name), TOPIC_NAME_MAX);
    topic_of_heartbeat(&cfg, name);
    assert_string_equal(name, "__debezium-heartbeat.shop");
    topic_of_messages(&cfg, name);
    assert_string_equal(name, "shop.message");
    topic_of_transactions(&cfg, name);
    assert_string_equal(name, "shop.transaction");
    topic_of_dead_letters(&cfg, name);
    assert_string_equal(name, "shop.dead-letter");
}

/* Rules as a job file gives them. */
static void route_add(Config *cfg, const char *match, const char *to) {
    int item = cfg->kafka.routes.count + 1;
    routes_put(&cfg->kafka.routes, item, item, offsetof(Route, match), match);
    routes_put(&cfg->kafka.routes, item, item, offsetof(Route, to), to);
}

static void assert_topic(const Config *cfg, const char *table, const char *expected) {
    char name[TOPIC_NAME_MAX + 1];
    topic_of_table(cfg, "public", table, name);
    assert_string_equal(name, expected);
}

static void routes_rename_the_topics_of_tables(void **unused) {
    (void)unused;
    char prefix[] = "shop", control[] = "shop.walferry", plain[TOPIC_NAME_MAX + 1], far[300];
    Config cfg = {.kafka = {.prefix = prefix, .control = control}};
    Error e;
    memset(far, 'y', sizeof far - 1);
    far[sizeof far - 1] = '\0';
    route_add(&cfg, "(shop)\\.public\\.orders_[0-9]+", "$1.orders");
    route_add(&cfg, "shop\\.public\\.(a+)(b)?", "\\2-$1 \xc3\xa4/$0");
    route_add(&cfg, ".*\\.long", far);
    route_add(&cfg, ".*\\.empty(x?)", "$1");
    route_add(&cfg, ".*\\.dots", "..");
    route_add(&cfg, ".*\\.own", "shop.walferry");
    route_add(&cfg, ".*\\.orders_1", "never");
    assert_true(routes_resolve(&cfg.kafka.routes, &e));
    assert_topic(&cfg, "orders_1", "shop.orders");
    assert_topic(&cfg, "orders_22", "shop.orders");
    assert_topic(&cfg, "orders_22x", "shop.public.orders_22x");
    assert_topic(&cfg, "aa", "-aa___shop.public.aa");
    assert_topic(&cfg, "aab", "b-aa___shop.public.aab");
    assert_topic(&cfg, "empty", "_");
    assert_topic(&cfg, "dots", "__");
    far[TOPIC_NAME_MAX] = '\0';
    assert_topic(&cfg, "long", far);
    assert_ptr_equal(topic_route(&cfg, "public", "orders_1", plain), &cfg.kafka.routes.items[0]);
    assert_string_equal(plain, "shop.public.orders_1");
    assert_null(topic_route(&cfg, "public", "plain", plain));
    assert_true(topic_is_tables(&cfg, "shop.orders", &e));
    assert_false(topic_is_tables(&cfg, "shop.walferry", &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_false(topic_is_tables(&cfg, "shop.dead-letter", &e));
    assert_false(topic_is_tables(&cfg, "shop.transaction", &e));
    assert_false(topic_is_tables(&cfg, "shop", &e));
    routes_free(&cfg.kafka.routes);
}

/* Also where there are thousands: brokers refuse to make one twice. */
static void tables_with_one_topic_have_one_place(void **unused) {
    (void)unused;
    enum { TABLES = 5000 };
    char prefix[] = "shop", control[] = "shop.walferry", schema[] = "public";
    Config cfg = {.kafka = {.prefix = prefix, .control = control}};
    Error e;
    Selection selection = {.count = TABLES, .tables = calloc(TABLES, sizeof(Table))};
    for (int table = 0; table < TABLES; table++) {
        selection.tables[table].schema = schema;
        assert_true(asprintf((char **)(uintptr_t)&selection.tables[table].name, "t%d", table) > 0);
    }
    route_add(&cfg, "(.*)[02468]", "$1x");
    assert_true(routes_resolve(&cfg.kafka.routes, &e));
    TopicList topics = topic_list_new(&cfg, &selection);
    assert_int_equal(topics.count, 1 + 2500 + 500);
    assert_int_equal(topics.of_table[4990], topics.of_table[4998]);
    assert_int_not_equal(topics.of_table[4990], topics.of_table[4991]);
    assert_string_equal(topics.list[topics.of_table[4998]].name, "shop.public.t499x");
    topic_list_free(&topics);
    for (int table = 0; table < TABLES; table++)
        free((char *)(uintptr_t)selection.tables[table].name);
    free(selection.tables);
    routes_free(&cfg.kafka.routes);
}

static void a_job_has_the_topics_that_it_asks_for(void **unused) {
    (void)unused;
    char prefix[] = "shop", control[] = "shop.walferry";
    Config cfg = {.kafka = {.prefix = prefix, .control = control}};
    Selection none = {.count = 0};
    TopicList topics = topic_list_new(&cfg, &none);
    assert_int_equal(topics.count, 1);
    topic_list_free(&topics);
    cfg.kafka.transactions = TRANSACTIONS_DEBEZIUM;
    topics = topic_list_new(&cfg, &none);
    assert_int_equal(topics.count, 2);
    assert_string_equal(topics.list[1].name, "shop.transaction");
    topic_list_free(&topics);
    cfg.source.heartbeat_ms = 1;
    topics = topic_list_new(&cfg, &none);
    assert_int_equal(topics.count, 3);
    assert_true(topics.list[0].control);
    assert_string_equal(topics.list[1].name, "__debezium-heartbeat.shop");
    assert_string_equal(topics.list[2].name, "shop.transaction");
    topic_list_free(&topics);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_clean_and_short),
                                       cmocka_unit_test(routes_rename_the_topics_of_tables),
                                       cmocka_unit_test(tables_with_one_topic_have_one_place),
                                       cmocka_unit_test(a_job_has_the_topics_that_it_asks_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
