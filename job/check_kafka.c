#include "job/check_kafka.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "job/check_text.h"
#include "sink/kafka/kafka_client.h"
#include "sink/kafka/kafka_schemas.h"
#include "sink/kafka/topic_settings.h"

/* As sink/kafka/source_facts takes the key (trap C1). */
static const char KEYLESS_SQL[] =
    "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p') AND NOT EXISTS ("
    " SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid"
    " AND (i.indisprimary OR (i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS ("
    "  SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid AND NOT a.attnotnull"
    "  AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])))))";

/* Those whose DELETEs carry an index's columns, and not the whole primary key. */
static const char OTHER_KEY_SQL[] =
    "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index r ON r.indrelid = c.oid AND "
    "r.indisreplident"
    " JOIN pg_catalog.pg_index p ON p.indrelid = c.oid AND p.indisprimary"
    " WHERE c.relreplident = 'i' AND NOT (p.indkey::int2[])[0:p.indnkeyatts - 1]"
    " <@ (r.indkey::int2[])[0:r.indnkeyatts - 1]";

static bool is_wanted(const Check *c, Finding *out) {
    out->left_out = c->cfg->kafka.brokers == NULL;
    return !out->left_out;
}

/* ---- the brokers ---- */

static bool brokers_look(Check *c, KafkaClient *looker, Finding *out, Error *e) {
    int count;
    KafkaWait wait = kafka_wait_begin(&(KafkaWait){.metrics = NULL}, c->wait_ms);
    if (!topics_brokers(looker, &count, &wait, e))
        return false;
    c->brokers = count;
    finding_pass(out, "%d broker%s, librdkafka %s", count, count == 1 ? "" : "s", rd_kafka_version_str());
    if (count > 1 && c->cfg->kafka.create && c->cfg->kafka.replication == 1) {
        finding_alert(out, "topics are made with one replica: what it holds is gone with its broker");
        finding_fix(out, "set kafka.topics.replication to 3, or leave it to the brokers (-1)");
    }
    return true;
}

bool check_kafka(Check *c, Finding *out, Error *e) {
    if (!is_wanted(c, out))
        return true;
    KafkaClient *looker = kafka_client_new(c->cfg, KAFKA_LOOK, NULL, e);
    bool ok = looker != NULL && brokers_look(c, looker, out, e);
    kafka_client_free(looker);
    return ok;
}

bool check_kafka_registry(Check *c, Finding *out, Error *e) {
    char subject[TOPIC_NAME_MAX + 8];
    if (!is_wanted(c, out) || c->cfg->kafka.format == KAFKA_JSON || c->cfg->kafka.registry.url == NULL) {
        out->left_out = true;
        return true;
    }
    snprintf(subject, sizeof subject, "%s-value", c->cfg->kafka.control);
    Registry *registry = kafka_registry_new(c->cfg, NULL, NULL, e);
    bool ok = registry != NULL && registry_look(registry, subject, e);
    registry_free(registry);
    return ok && finding_pass(out, "it answers, and takes the login");
}

/* ---- tables without a key ---- */

/* An array of a yes or no for each table of the selection, for the caller to free. NULL and e: no answer. */
static bool *tables_find(Check *c, const char *sql, Error *e) {
    PGresult *rows = pg_query(c->source, sql, 0, NULL, e);
    if (rows == NULL)
        return NULL;
    bool *found = memory_array((size_t)c->selection->count + 1, sizeof *found);
    for (int row = 0; row < PQntuples(rows); row++)
        for (int table = 0; table < c->selection->count; table++)
            if (c->selection->tables[table].oid == (uint32_t)pg_cell_int(rows, row, 0))
                found[table] = true;
    PQclear(rows);
    return found;
}

static Names names_of(const Check *c, const bool *tables) {
    Names names = names_new();
    for (int table = 0; table < c->selection->count; table++)
        if (tables[table])
            names_add(&names, c->selection->tables[table].full_name);
    return names;
}

static void keyless_judge(const Check *c, const bool *keyless, Finding *out) {
    Names names = names_of(c, keyless);
    if (names.count > 0) {
        finding_alert(
            out, "%d of %d tables have no key, so their records have none, and are all in partition 0: %s",
            names.count, c->selection->count, names_text(&names));
        finding_fix(out, "give them a primary key, or a unique index over columns that are NOT NULL");
    }
    names_free(&names);
}

static void other_keys_judge(const Check *c, const bool *others, Finding *out) {
    Names names = names_of(c, others);
    if (names.count > 0) {
        finding_alert(
            out,
            "the source says of a deleted row only its replica identity, which is an index without the "
            "primary key, so that index is the key of their records: %s",
            names_text(&names));
        finding_fix(out, "for the primary key as key: ALTER TABLE ... REPLICA IDENTITY DEFAULT, or FULL");
    }
    names_free(&names);
}

/* ---- tables with one topic ---- */

static bool has_key_field(const Check *c, const Table *table) {
    char plain[TOPIC_NAME_MAX + 1];
    const Route *route = topic_route(c->cfg, table->schema, table->name, plain);
    return route != NULL && route->key_field != NULL;
}

/* Names the tables of the topics that several have, but for those whose route tells their keys apart. */
static void merged_judge(const Check *c, const bool *keyless, Finding *out) {
    TopicList topics = topic_list_new(c->cfg, c->selection);
    int *tables_of = memory_array((size_t)topics.count, sizeof *tables_of);
    Names names = names_new();
    for (int table = 0; table < c->selection->count; table++)
        tables_of[topics.of_table[table]]++;
    for (int table = 0; table < c->selection->count; table++)
        if (tables_of[topics.of_table[table]] > 1 && !keyless[table] &&
            !has_key_field(c, &c->selection->tables[table]))
            names_add(&names, c->selection->tables[table].full_name);
    if (names.count > 0) {
        finding_alert(
            out,
            "%d tables share a topic with others, where rows of different tables with equal keys are "
            "one row to readers and to compaction: %s",
            names.count, names_text(&names));
        finding_fix(out,
                    "set key_field of their route in kafka.topics.route, unless no two of them have a key "
                    "in common");
    }
    names_free(&names);
    free(tables_of);
    topic_list_free(&topics);
}

bool check_kafka_keys(Check *c, Finding *out, Error *e) {
    if (!is_wanted(c, out))
        return true;
    bool *keyless = tables_find(c, KEYLESS_SQL, e);
    bool *others = keyless == NULL ? NULL : tables_find(c, OTHER_KEY_SQL, e);
    if (others != NULL) {
        keyless_judge(c, keyless, out);
        other_keys_judge(c, others, out);
        merged_judge(c, keyless, out);
    }
    bool ok = others != NULL;
    free(others);
    free(keyless);
    return ok;
}

/* ---- the topics ---- */

static const char *given_policy(const Config *cfg) {
    for (int pair = 0; pair < cfg->kafka.topic_config.count; pair++)
        if (strcmp(cfg->kafka.topic_config.items[pair].key, "cleanup.policy") == 0)
            return cfg->kafka.topic_config.items[pair].value;
    return "";
}

/* Of one that is made: what the job says. */
static bool is_compacted(const Check *c, const TopicSettings *is) {
    return is->known ? is->compacted
                     : c->cfg->kafka.create && strstr(given_policy(c->cfg), "compact") != NULL;
}

static void control_judge(const Check *c, const TopicSettings *is, Finding *out) {
    if (!is->known || (is->compacted && !is->expires))
        return;
    finding_fail(out, "topic \"%s\" %s: the job's position would be lost", c->cfg->kafka.control,
                 is->compacted ? "deletes old records, too" : "is not compacted, and deletes old records");
    finding_fix(out, "set its cleanup.policy to compact, or choose another kafka.control");
}

/* Where more replicas have to be in sync than there can be, no record is ever taken. */
static void replicas_judge(const Check *c, const TopicList *topics, const TopicSettings *are, Finding *out) {
    Names stuck = names_new();
    for (int topic = 0; topic < topics->count; topic++)
        if (are[topic].known && are[topic].in_sync > c->brokers)
            names_add(&stuck, topics->list[topic].name);
    if (stuck.count > 0) {
        finding_fail(out, "more replicas have to be in sync than there are brokers (%d): %s", c->brokers,
                     names_text(&stuck));
        finding_fix(out, "lower their min.insync.replicas, which is below the number of replicas");
    }
    names_free(&stuck);
}

/* Of compacted topics: those that get records without a key. */
static void keys_judge(const Check *c, const TopicList *topics, const TopicSettings *are, const bool *keyless,
                       Finding *out) {
    Names without = names_new(), truncated = names_new();
    for (int table = 0; table < c->selection->count; table++) {
        const Table *of = &c->selection->tables[table];
        int place = topics->of_table[table];
        if (!is_compacted(c, &are[place]))
            continue;
        if (keyless[table])
            names_add(&without, topics->list[place].name);
        else if (selection_choice(c->selection, of->schema, of->name).takes & 1u << CHANGE_TRUNCATE)
            names_add(&truncated, topics->list[place].name);
    }
    if (without.count > 0) {
        finding_fail(out, "compacted topics take no records without a key, and these tables have none: %s",
                     names_text(&without));
        finding_fix(out, "set cleanup.policy to delete, or give the tables a primary key");
    }
    if (truncated.count > 0) {
        finding_alert(out, "compacted topics take no records without a key, so a TRUNCATE ends the job: %s",
                      names_text(&truncated));
        finding_fix(out, "leave truncate out of objects.dml, or set cleanup.policy to delete");
    }
    names_free(&without);
    names_free(&truncated);
}

static bool topics_look(Check *c, KafkaClient *looker, const TopicList *topics, const bool *keyless,
                        Finding *out, Error *e) {
    KafkaWait wait = kafka_wait_begin(&(KafkaWait){.metrics = NULL}, c->wait_ms);
    TopicSettings *are = memory_array((size_t)topics->count, sizeof *are);
    bool ok = topics_fit(looker, topics->list, topics->count, &wait, e) &&
              topic_settings_read(looker, topics->list, topics->count, are, &wait, e);
    if (ok) {
        control_judge(c, &are[0], out);
        replicas_judge(c, topics, are, out);
        keys_judge(c, topics, are, keyless, out);
    }
    free(are);
    return ok;
}

bool check_kafka_topics(Check *c, Finding *out, Error *e) {
    if (!is_wanted(c, out) || c->brokers == 0) {
        out->left_out = true;
        return true;
    }
    bool *keyless = tables_find(c, KEYLESS_SQL, e);
    if (keyless == NULL)
        return false;
    TopicList topics = topic_list_new(c->cfg, c->selection);
    KafkaClient *looker = kafka_client_new(c->cfg, KAFKA_LOOK, NULL, e);
    bool ok = looker != NULL && topic_list_fits(c->cfg, &topics, c->selection, e) &&
              topics_look(c, looker, &topics, keyless, out, e);
    kafka_client_free(looker);
    topic_list_free(&topics);
    free(keyless);
    return ok;
}
