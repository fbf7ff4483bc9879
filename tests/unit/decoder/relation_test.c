#include "decoder/relation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* last: it makes a macro of "fail" */

enum { OID = 16385 };

static Column columns_of_two[] = {{"id", 23, -1, true}, {"note", 1043, 24, false}};

/* public.t (id integer key, note varchar(20)), to be varied. */
static Message relation_of_two(uint32_t oid) {
    Message m = {.kind = MESSAGE_RELATION};
    m.relation.oid = oid;
    m.relation.schema = slice_text("public");
    m.relation.name = slice_text("t");
    m.relation.identity = 'd';
    m.relation.column_count = 2;
    m.relation.columns = columns_of_two;
    return m;
}

static Message renamed(uint32_t oid, const char *name) {
    Message m = relation_of_two(oid);
    m.relation.name = slice_text(name);
    return m;
}

static const Relation *put(RelationCache *c, RelationScope *scope, uint64_t arrival, Message m) {
    Error e = {0};
    if (!relation_put(c, scope, arrival, &m, &e))
        fail_msg("%s", e.text);
    return relation_get(c, scope, m.relation.oid);
}

static void unannounced_relation_is_null(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *scope = relation_scope_new();
    assert_null(relation_get(c, NULL, OID));
    assert_null(relation_get(c, scope, OID));
    put(c, NULL, 1, relation_of_two(OID));
    assert_null(relation_get(c, NULL, OID + 1));
    assert_int_equal(relation_versions(c), 1);
    relation_scope_free(scope);
    relation_cache_free(c);
}

static void version_is_a_deep_copy(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    char schema[] = "public", name[] = "t", first[] = "id", second[] = "note";
    Column columns[] = {{first, 23, -1, true}, {second, 1043, 24, false}};
    Message m = relation_of_two(OID);
    m.relation.schema = slice_text(schema);
    m.relation.name = slice_text(name);
    m.relation.columns = columns;
    const Relation *rel = put(c, NULL, 1, m);
    memset(schema, 'x', sizeof schema - 1);
    memset(name, 'x', sizeof name - 1);
    memset(first, 'x', sizeof first - 1);
    memset(second, 'x', sizeof second - 1);
    memset(columns, 0, sizeof columns);
    assert_int_equal(rel->oid, OID);
    assert_string_equal(rel->schema, "public");
    assert_string_equal(rel->name, "t");
    assert_int_equal(rel->identity, 'd');
    assert_int_equal(rel->column_count, 2);
    assert_string_equal(rel->columns[0].name, "id");
    assert_true(rel->columns[0].key);
    assert_string_equal(rel->columns[1].name, "note");
    assert_int_equal(rel->columns[1].type, 1043);
    assert_int_equal(rel->columns[1].modifier, 24);
    assert_false(rel->columns[1].key);
    relation_cache_free(c);
}

static void equal_message_makes_no_new_version(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    const Relation *first = put(c, NULL, 1, relation_of_two(OID));
    assert_ptr_equal(put(c, NULL, 2, relation_of_two(OID)), first);
    assert_int_equal(relation_versions(c), 1);
    relation_cache_free(c);
}

/* What a Relation does not say, such as NOT NULL, may be why the server says it again. */
static void repeats_are_counted(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    const Relation *rel = put(c, NULL, 1, relation_of_two(OID));
    assert_int_equal(relation_repeats(rel), 0);
    assert_ptr_equal(put(c, NULL, 2, relation_of_two(OID)), rel);
    assert_ptr_equal(put(c, NULL, 3, relation_of_two(OID)), rel);
    assert_int_equal(relation_repeats(rel), 2);
    assert_int_equal(relation_repeats(put(c, NULL, 4, renamed(OID, "t2"))), 0);
    relation_cache_free(c);
}

static void assert_new_version(Message other) {
    RelationCache *c = relation_cache_new();
    const Relation *first = put(c, NULL, 1, relation_of_two(OID));
    const Relation *second = put(c, NULL, 2, other);
    assert_ptr_not_equal(first, second);
    assert_int_equal(second->number, 1);
    assert_int_equal(relation_versions(c), 2);
    relation_cache_free(c);
}

static void assert_new_version_of_columns(uint16_t count, Column *columns) {
    Message other = relation_of_two(OID);
    other.relation.column_count = count;
    other.relation.columns = columns;
    assert_new_version(other);
}

static void every_difference_makes_a_new_version(void **state) {
    (void)state;
    Message other = relation_of_two(OID);
    other.relation.schema = slice_text("publi");
    assert_new_version(other);
    other = relation_of_two(OID);
    other.relation.identity = 'f';
    assert_new_version(other);
    assert_new_version(renamed(OID, "t2"));
    assert_new_version_of_columns(1, (Column[]){{"id", 23, -1, true}});
    assert_new_version_of_columns(2, (Column[]){{"id", 23, -1, true}, {"note2", 1043, 24, false}});
    assert_new_version_of_columns(2, (Column[]){{"id", 23, -1, true}, {"note", 25, 24, false}});
    assert_new_version_of_columns(2, (Column[]){{"id", 23, -1, true}, {"note", 1043, 25, false}});
    assert_new_version_of_columns(2, (Column[]){{"id", 23, -1, true}, {"note", 1043, 24, true}});
    assert_new_version_of_columns(2, (Column[]){{"note", 1043, 24, false}, {"id", 23, -1, true}});
}

static void numbers_are_dense_and_old_versions_live_as_long_as_an_arena_has_them(void **state) {
    (void)state;
    enum { RELATIONS = 300 };
    RelationCache *c = relation_cache_new();
    Arena *arena = arena_new();
    const Relation *first[RELATIONS];
    for (uint32_t relation = 0; relation < RELATIONS; relation++) {
        first[relation] = put(c, NULL, relation, relation_of_two(OID + relation * 64));
        relation_lend(first[relation], arena);
        relation_lend(first[relation], arena);
        relation_remember(first[relation]);
    }
    for (uint32_t relation = 0; relation < RELATIONS; relation++) {
        const Relation *second = put(c, NULL, RELATIONS + relation, renamed(OID + relation * 64, "after"));
        assert_int_equal(first[relation]->number, relation);
        assert_string_equal(first[relation]->name, "t");
        assert_false(relation_is_over(first[relation]));
        assert_int_equal(second->number, RELATIONS + relation);
        assert_string_equal(relation_get(c, NULL, OID + relation * 64)->name, "after");
    }
    arena_free(arena);
    for (uint32_t relation = 0; relation < RELATIONS; relation++) {
        assert_true(relation_is_over(first[relation]));
        relation_forget(first[relation]);
        assert_false(relation_is_over(relation_get(c, NULL, OID + relation * 64)));
    }
    assert_int_equal(relation_versions(c), 2 * RELATIONS);
    relation_cache_free(c);
}

static void private_version_is_over_when_its_transaction_is(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *scope = relation_scope_new(), *other = relation_scope_new();
    put(c, NULL, 1, relation_of_two(OID));
    const Relation *private = put(c, scope, 2, renamed(OID, "private")),
                   *cut = put(c, scope, 3, renamed(OID, "cut")),
                   *promoted = put(c, other, 4, renamed(OID, "promoted"));
    relation_remember(private);
    relation_remember(cut);
    relation_scope_cut(scope, 3);
    assert_true(relation_is_over(cut));
    assert_false(relation_is_over(private));
    relation_scope_free(scope);
    assert_true(relation_is_over(private));
    relation_scope_promote(c, other);
    relation_scope_free(other);
    assert_ptr_equal(relation_get(c, NULL, OID), promoted);
    assert_false(relation_is_over(promoted));
    relation_forget(private);
    relation_forget(cut);
    relation_cache_free(c);
}

static void relation_without_columns_is_a_relation(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    Message m = relation_of_two(OID);
    m.relation.column_count = 0;
    m.relation.columns = NULL;
    assert_int_equal(put(c, NULL, 1, m)->column_count, 0);
    assert_int_equal(put(c, NULL, 2, m)->number, 0);
    relation_cache_free(c);
}

static void too_many_versions_end_the_session_with_a_retry(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    char name[20];
    for (uint32_t version = 0; version < RELATION_VERSIONS_MAX; version++) {
        snprintf(name, sizeof name, "t%u", version);
        put(c, NULL, version, renamed(OID, name));
    }
    Error e = {0};
    Message one_more = renamed(OID, "one more"), known = renamed(OID, name);
    assert_false(relation_put(c, NULL, RELATION_VERSIONS_MAX, &one_more, &e));
    assert_int_equal(e.kind, ERR_RETRY);
    assert_int_equal(relation_versions(c), RELATION_VERSIONS_MAX);
    assert_true(relation_put(c, NULL, RELATION_VERSIONS_MAX, &known, &e));
    relation_cache_free(c);
}

static void private_relation_is_seen_in_its_scope_only(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *scope = relation_scope_new(), *other = relation_scope_new();
    const Relation *global = put(c, NULL, 1, relation_of_two(OID));
    const Relation *private = put(c, scope, 2, renamed(OID, "uncommitted"));
    assert_ptr_not_equal(private, global);
    assert_ptr_equal(relation_get(c, NULL, OID), global);
    assert_ptr_equal(relation_get(c, scope, OID), private);
    assert_null(relation_get(c, other, OID));
    relation_scope_free(scope);
    relation_scope_free(other);
    relation_cache_free(c);
}

static void private_relation_as_everybody_knows_it_is_no_new_version(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    const Relation *global = put(c, NULL, 1, relation_of_two(OID));
    for (uint64_t stream = 0; stream < 10; stream++) {
        RelationScope *scope = relation_scope_new();
        assert_ptr_equal(put(c, scope, 2 + stream, relation_of_two(OID)), global);
        relation_scope_free(scope);
    }
    assert_int_equal(relation_versions(c), 1);
    relation_cache_free(c);
}

static void private_relation_is_compared_with_the_private_one_in_force(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *scope = relation_scope_new();
    put(c, NULL, 1, relation_of_two(OID));
    const Relation *private = put(c, scope, 2, renamed(OID, "altered"));
    assert_ptr_equal(put(c, scope, 3, renamed(OID, "altered")), private);
    assert_int_equal(put(c, scope, 4, relation_of_two(OID))->number, 2);
    relation_scope_free(scope);
    relation_cache_free(c);
}

static void commit_makes_private_relations_global(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *scope = relation_scope_new();
    put(c, NULL, 1, relation_of_two(OID));
    const Relation *altered = put(c, scope, 2, renamed(OID, "altered"));
    const Relation *created = put(c, scope, 3, renamed(OID + 1, "created"));
    relation_scope_promote(c, scope);
    relation_scope_free(scope);
    assert_ptr_equal(relation_get(c, NULL, OID), altered);
    assert_ptr_equal(relation_get(c, NULL, OID + 1), created);
    assert_int_equal(relation_versions(c), 3);
    relation_cache_free(c);
}

static void abort_forgets_private_relations(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *scope = relation_scope_new();
    const Relation *global = put(c, NULL, 1, relation_of_two(OID));
    put(c, scope, 2, renamed(OID, "altered"));
    put(c, scope, 3, renamed(OID + 1, "created"));
    relation_scope_free(scope);
    assert_ptr_equal(relation_get(c, NULL, OID), global);
    assert_null(relation_get(c, NULL, OID + 1));
    relation_cache_free(c);
}

static void private_relation_is_not_promoted_over_a_global_one_that_arrived_later(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *scope = relation_scope_new();
    put(c, NULL, 1, relation_of_two(OID));
    put(c, scope, 2, renamed(OID, "private"));
    const Relation *later = put(c, NULL, 3, renamed(OID, "later"));
    relation_scope_promote(c, scope);
    relation_scope_free(scope);
    assert_ptr_equal(relation_get(c, NULL, OID), later);
    relation_cache_free(c);
}

/* The stream is decoded when it commits: by then a later global message has been put already. */
static void promotion_goes_by_arrival_and_not_by_the_order_of_calls(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *scope = relation_scope_new();
    const Relation *later = put(c, NULL, 9, renamed(OID, "later"));
    put(c, scope, 5, renamed(OID, "private"));
    relation_scope_promote(c, scope);
    assert_ptr_equal(relation_get(c, NULL, OID), later);
    const Relation *latest = put(c, scope, 10, renamed(OID, "latest"));
    relation_scope_promote(c, scope);
    assert_ptr_equal(relation_get(c, NULL, OID), latest);
    relation_scope_free(scope);
    relation_cache_free(c);
}

static void repeated_global_message_counts_as_arrived_later(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *scope = relation_scope_new();
    const Relation *global = put(c, NULL, 1, relation_of_two(OID));
    put(c, scope, 2, renamed(OID, "private"));
    put(c, NULL, 3, relation_of_two(OID));
    relation_scope_promote(c, scope);
    relation_scope_free(scope);
    assert_ptr_equal(relation_get(c, NULL, OID), global);
    relation_cache_free(c);
}

/* Two streams commit in another order than their relations arrived in: the newest description stays. */
static void promoted_relation_keeps_its_own_arrival(void **state) {
    (void)state;
    RelationCache *c = relation_cache_new();
    RelationScope *early = relation_scope_new(), *late = relation_scope_new();
    put(c, early, 1, renamed(OID, "early"));
    const Relation *newest = put(c, late, 2, renamed(OID, "late"));
    relation_scope_promote(c, late);
    relation_scope_promote(c, early);
    assert_ptr_equal(relation_get(c, NULL, OID), newest);
    const Relation *global = put(c, NULL, 3, renamed(OID, "global"));
    relation_scope_promote(c, late);
    assert_ptr_equal(relation_get(c, NULL, OID), global);
    relation_scope_free(early);
    relation_scope_free(late);
    relation_cache_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unannounced_relation_is_null),
        cmocka_unit_test(version_is_a_deep_copy),
        cmocka_unit_test(equal_message_makes_no_new_version),
        cmocka_unit_test(repeats_are_counted),
        cmocka_unit_test(every_difference_makes_a_new_version),
        cmocka_unit_test(numbers_are_dense_and_old_versions_live_as_long_as_an_arena_has_them),
        cmocka_unit_test(private_version_is_over_when_its_transaction_is),
        cmocka_unit_test(relation_without_columns_is_a_relation),
        cmocka_unit_test(too_many_versions_end_the_session_with_a_retry),
        cmocka_unit_test(private_relation_is_seen_in_its_scope_only),
        cmocka_unit_test(private_relation_as_everybody_knows_it_is_no_new_version),
        cmocka_unit_test(private_relation_is_compared_with_the_private_one_in_force),
        cmocka_unit_test(commit_makes_private_relations_global),
        cmocka_unit_test(abort_forgets_private_relations),
        cmocka_unit_test(private_relation_is_not_promoted_over_a_global_one_that_arrived_later),
        cmocka_unit_test(promotion_goes_by_arrival_and_not_by_the_order_of_calls),
        cmocka_unit_test(repeated_global_message_counts_as_arrived_later),
        cmocka_unit_test(promoted_relation_keeps_its_own_arrival),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
