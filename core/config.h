/* config: one job, as its file, its flags and the environment describe it. One option table (core/options.c) makes
 * the parser, the defaults, the checks, --help and docs/reference.md. Order: flag, file, default. The whole job file
 * of requirements section 6 is parsed and checked; a key (or a value of a key) that this version cannot do yet is
 * answered "not available yet in this version", exit 2. Every error names the file's line, and an unknown key the
 * nearest known one. Immutable after config_load, so any thread may read it. */
#ifndef WALFERRY_CORE_CONFIG_H
#define WALFERRY_CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/log.h"
#include "core/route.h"

enum { JOB_NAME_MAX = 40 };

typedef enum IdentityPolicy { IDENTITY_FAIL, IDENTITY_FULL, IDENTITY_INSERT_ONLY } IdentityPolicy;

/* What becomes of tables that the destination has already. */
typedef enum ExistingPolicy { EXISTING_FAIL, EXISTING_KEEP, EXISTING_TRUNCATE, EXISTING_DROP } ExistingPolicy;
const char *existing_policy_name(ExistingPolicy policy); /* "fail", "keep", … */

/* What becomes of captured tables that change their form at the source. */
typedef enum DdlPolicy { DDL_STOP, DDL_PAUSE_TABLE, DDL_APPLY } DdlPolicy;
/* What becomes of a change that does not fit the destination's rows (sink/postgres/conflict.h). */
typedef enum ConflictPolicy { CONFLICTS_STOP, CONFLICTS_SOURCE_WINS, CONFLICTS_SKIP } ConflictPolicy;

typedef enum OwnerPolicy { OWNERS_DESTINATION_USER, OWNERS_KEEP } OwnerPolicy;

typedef enum GearChoice { GEAR_CHOICE_AUTO, GEAR_CHOICE_LIVE, GEAR_CHOICE_CATCH_UP } GearChoice;

typedef enum KafkaFormat { KAFKA_JSON, KAFKA_AVRO, KAFKA_PROTOBUF } KafkaFormat;
typedef enum KafkaEnvelope { KAFKA_DEBEZIUM, KAFKA_FLAT, KAFKA_ROW } KafkaEnvelope;
typedef enum KafkaToast { KAFKA_TOAST_PLACEHOLDER, KAFKA_TOAST_ABSENT, KAFKA_TOAST_COMPLETE } KafkaToast;
typedef enum KafkaSpecial { SPECIAL_HEADER, SPECIAL_FAIL } KafkaSpecial;
typedef enum KafkaTransactions { TRANSACTIONS_UNTOLD, TRANSACTIONS_DEBEZIUM } KafkaTransactions;
typedef enum KafkaRefused { REFUSED_STOP, REFUSED_DEAD_LETTER } KafkaRefused;
typedef enum KafkaDelivery { DELIVERY_EXACTLY_ONCE, DELIVERY_AT_LEAST_ONCE } KafkaDelivery;

typedef enum LetterCase { CASE_KEEP, CASE_LOWER, CASE_UPPER } LetterCase;

typedef struct ConfigTexts {
    int count;
    char **items;
} ConfigTexts;

/* Options with a free key, in the file's order: what stands for "*" and the value; of a list, one pair each item. */
typedef struct ConfigPair {
    char *key, *value;
} ConfigPair;
typedef struct ConfigPairs {
    int count;
    ConfigPair *items;
} ConfigPairs;

typedef struct Config {
    char *name; /* [a-z0-9_], 1 to 40 characters; made from both database names when absent */
    struct {
        char *dsn;
        int64_t heartbeat_ms; /* 0: off */
        char *heartbeat_schema, *heartbeat_table;
        char *publication; /* default dts_sync_<name>; another one is only checked, never changed */
        bool two_phase;    /* prepared transactions are prepared at the destination (trap A8) */
    } source;
    struct {
        char *dsn; /* NULL: no database as destination */
        char *state_schema;
        GearChoice gear;
        int workers; /* connections of the catch-up gear; -1: auto */
    } target;
    struct {
        bool schema, full, incremental;
    } phases;
    IdentityPolicy identity;
    ExistingPolicy existing;
    DdlPolicy ddl;
    ConflictPolicy conflicts;
    struct {
        char *pg_dump; /* "auto" or a path */
        bool roles;    /* the roles that the database uses are made where they are missing */
        bool event_triggers;
    } schema;
    struct {
        ConfigTexts include, exclude; /* patterns: core/mapping compiles them */
        struct {
            ConfigPairs schemas, tables, columns;
        } rename;
        LetterCase letter_case;
        ConfigPairs where, columns;             /* row filters and column lists, by table */
        bool dml[4];                            /* insert, update, delete, truncate */
        ConfigPairs table_dml, table_conflicts; /* by table or pattern */
    } objects;
    struct {
        int workers;               /* resolved: auto is the number of cores, at most 8 */
        int64_t split_above_bytes; /* -1: auto */
        OwnerPolicy owners;
        bool privileges;
    } load;
    struct {
        struct {
            int64_t queries_per_s, rows_per_s, bytes_per_s; /* 0: no limit */
        } load;
        struct {
            int64_t rows_per_s, bytes_per_s;
        } apply;
    } throttle;
    struct {
        int64_t connection_ms, other_ms;
    } retry;
    int64_t memory_bytes;
    struct {
        LogLevel level;
        LogFormat format;
    } log;
    struct {
        char *dir; /* resolved */
        int64_t max_bytes;
    } spill;
    struct {
        char *path; /* NULL: no file sink */
    } file;
    struct {
        char *brokers; /* NULL: no Kafka */
        char *prefix;
        KafkaFormat format;
        bool json_schema;
        KafkaEnvelope envelope;
        char *control;               /* resolved: <prefix>.walferry */
        bool create;                 /* missing topics are made */
        int partitions, replication; /* of these; replication -1: the brokers' default */
        ConfigPairs topic_config;
        Routes routes;
        bool tombstones, context_headers, schema_changes;
        bool groups;
        KafkaToast toast;
        KafkaSpecial special;
        KafkaTransactions transactions;
        KafkaRefused refused;
        KafkaDelivery delivery;
        struct {
            char *url, *user, *password, *ca; /* url NULL: none */
        } registry;
        ConfigPairs config; /* for librdkafka; values may be secrets */
        int64_t
            batch_bytes; /* no option: the most that all topics take at once, found out by whoever writes; 0: not known */
    } kafka;
    /* made from the name: */
    char *slot;               /* dts_sync_<name> */
    char *load_slot;          /* dts_sync_<name>_load */
    char *insert_publication; /* dts_sync_<name>_i */
    char *control_socket;     /* path */
} Config;

/* One "--set KEY=VALUE", or a flag that is short for one (--source is source.dsn). */
typedef struct ConfigSetting {
    const char *key, *value;
} ConfigSetting;

/* `path` may be NULL (flags alone). NULL and e when the job is wrong or lacks its source or destination. */
Config *config_load(const char *path, const ConfigSetting *settings, size_t count, Error *e);
/* For commands that need only a name or one of the servers: source.dsn and target.dsn may be NULL then. */
Config *config_load_part(const char *path, const ConfigSetting *settings, size_t count, Error *e);
void config_free(Config *cfg); /* NULL is fine */

/* For --help, completion and docs: calls visit(key, type, default, help) in table order. */
void config_visit(void (*visit)(void *context, const char *key, const char *type, const char *default_text,
                                const char *help, bool available),
                  void *context);

/* "500ms", "10min", "64MiB" with units; plain 0 is allowed. Shared with flags such as --wait. */
bool config_duration_ms(const char *text, int64_t *out);
bool config_size_bytes(const char *text, int64_t *out);
/* The nearest of `names` to a mistyped word, or NULL when none is near. */
const char *config_nearest(const char *word, const char *const *names, size_t count);

#endif
