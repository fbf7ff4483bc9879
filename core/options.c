#include "core/options.h"

#include "core/config.h"

#define MILLISECONDS INT64_C(1)
#define SECONDS      INT64_C(1000)
#define MINUTES      (60 * SECONDS)
#define HOURS        (60 * MINUTES)
#define KIB          INT64_C(1024)
#define MIB          (1024 * KIB)
#define GIB          (1024 * MIB)
#define TIB          (1024 * GIB)
#define PIB          (1024 * TIB)

/* A row of the table and what can stand in it. */
#define ROW(name, text, ...)                                                                                 \
    { .key = (name), .help = (text), __VA_ARGS__ }
#define NOW(member)         .reach = OPTION_NOW, .stored = true, .field = offsetof(Config, member)
#define ROUTE(member)       NOW(kafka.routes), .part = offsetof(Route, member)
#define ONLY(values)        .reach = OPTION_ONLY, .only = (values)
#define DEFAULT(text)       .default_text = (text)
#define DEFAULT_MADE(text)  .default_text = (text), .computed = true
#define TEXT(least, most)   .type = OPTION_TEXT, .min = (least), .max = (most)
#define NUMBER(least, most) .type = OPTION_NUMBER, .min = (least), .max = (most)
#define SIZE(least, most)   .type = OPTION_SIZE, .min = (least), .max = (most)
#define PERIOD(least, most) .type = OPTION_DURATION, .min = (least), .max = (most)
#define CHOICE(words)       .type = OPTION_CHOICE, .choices = (words)
#define YES_OR_NO           .type = OPTION_BOOL
#define RATE                .type = OPTION_NUMBER, .min = 0, .max = INT64_C(1000000000)
#define SIZE_RATE           .type = OPTION_SIZE, .min = 0, .max = TIB
#define OF_SCHEMA           .free = FREE_SCHEMA
#define OF_TABLE            .free = FREE_TABLE
#define OF_COLUMN           .free = FREE_COLUMN
#define DML                 .type = OPTION_CHOICE, .choices = "insert|update|delete|truncate"

static const Option TABLE[] = {
    ROW("name", "name of the job; its slot and publication are dts_sync_<name>", .type = OPTION_JOB_NAME,
        DEFAULT_MADE("<source database>_<target database>"), NOW(name)),

    ROW("source.dsn", "the server to read from", .type = OPTION_DSN, .secret = true, NOW(source.dsn)),
    ROW("source.heartbeat", "time between two beats at the source; 0 switches them off",
        PERIOD(100 * MILLISECONDS, HOURS), .zero = true, DEFAULT("1s"), NOW(source.heartbeat_ms)),
    ROW("source.heartbeat_table", "the table at the source that carries the beats", .type = OPTION_TABLE,
        DEFAULT("public.dts_postgres_heartbeat"), NOW(source.heartbeat_schema)),
    ROW("source.publication", "the publication to read; an existing one of another name is only checked",
        .type = OPTION_IDENTIFIER, DEFAULT_MADE("dts_sync_<name>"), NOW(source.publication)),
    ROW("source.two_phase",
        "prepare two-phase transactions at the destination, too; a job keeps to what it began with",
        YES_OR_NO, DEFAULT("no"), NOW(source.two_phase)),

    ROW("target.dsn", "the server to write to; absent: Kafka or a file only", .type = OPTION_DSN,
        .secret = true, NOW(target.dsn)),
    ROW("target.dialect", "what kind of server the destination is", CHOICE("auto|postgresql|greenplum|adbpg"),
        DEFAULT("auto"), ONLY("auto|postgresql")),
    ROW("target.state_schema", "the schema at the destination that keeps the progress", .type = OPTION_SCHEMA,
        DEFAULT("walferry"), NOW(target.state_schema)),
    ROW("target.gear",
        "how changes are applied: live (one by one), catch-up (collected into sets), or auto: as it takes to "
        "keep up",
        CHOICE("auto|live|catch-up"), DEFAULT("auto"), NOW(target.gear)),
    ROW("target.workers",
        "connections that apply sets at the same time; auto: one more as long as that is faster, at most the "
        "number of cores",
        NUMBER(1, 16), .automatic = true, DEFAULT("auto"), NOW(target.workers)),
    ROW("target.storage", "how a destination of the Greenplum family stores new tables",
        CHOICE("heap|ao_row|ao_column"), DEFAULT("heap"), ONLY("heap")),
    ROW("target.apply_latency", "how long a destination of the Greenplum family collects changes",
        PERIOD(0, HOURS), DEFAULT("1s")),

    ROW("phases[]", "what to do, in this order; without target from full on",
        CHOICE("schema|full|incremental"), .ordered = true, DEFAULT("schema, full, incremental"),
        NOW(phases)),
    ROW("identity", "what to do with tables that have no key for UPDATE and DELETE",
        CHOICE("fail|full|insert-only"), DEFAULT("fail"), NOW(identity)),

    ROW("schema.pg_dump",
        "path of pg_dump; auto: of PATH and /usr/lib/postgresql/*/bin the one that fits both servers",
        TEXT(1, 4096), DEFAULT("auto"), NOW(schema.pg_dump)),
    ROW("schema.roles",
        "make the roles that the database uses where the destination lacks them, without their passwords",
        YES_OR_NO, DEFAULT("no"), NOW(schema.roles)),
    ROW("schema.event_triggers", "copy event triggers", YES_OR_NO, DEFAULT("no"), NOW(schema.event_triggers)),

    ROW("objects.include[]", "tables to take, as schema.table with *; without one all are",
        .type = OPTION_INCLUSION, NOW(objects.include)),
    ROW("objects.exclude[]", "tables to leave out, as schema.table with *", .type = OPTION_PATTERN,
        NOW(objects.exclude)),
    ROW("objects.rename.schemas.*", "another name for a schema", .type = OPTION_IDENTIFIER, OF_SCHEMA,
        NOW(objects.rename.schemas)),
    ROW("objects.rename.tables.*", "another name for a table, as schema.table", .type = OPTION_TABLE,
        OF_TABLE, NOW(objects.rename.tables)),
    ROW("objects.rename.columns.*.*", "another name for a column", .type = OPTION_IDENTIFIER, OF_COLUMN,
        NOW(objects.rename.columns)),
    ROW("objects.case", "letter case (of A to Z) of names that have no explicit rename",
        CHOICE("keep|lower|upper"), DEFAULT("keep"), NOW(objects.letter_case)),
    ROW("objects.dml[]",
        "the kinds of change to apply; walferry leaves the others out, the source sends them all", DML,
        DEFAULT("insert, update, delete, truncate"), NOW(objects.dml)),
    ROW("objects.tables.*.where", "condition for the rows of a table to take", TEXT(1, 65536), OF_TABLE,
        NOW(objects.where)),
    ROW("objects.tables.*.columns[]", "columns of a table to take", .type = OPTION_IDENTIFIER, OF_TABLE,
        NOW(objects.columns)),
    ROW("objects.tables.*.dml[]",
        "the same for a table, or for all that fit schema.table with *; a name wins over a pattern, a longer "
        "pattern "
        "over a shorter",
        DML, OF_TABLE, NOW(objects.table_dml)),
    ROW("objects.tables.*.conflicts", "conflicts for a table, or for all that fit schema.table with *",
        CHOICE("stop|source-wins|skip"), OF_TABLE, NOW(objects.table_conflicts)),
    ROW("objects.tables.*.key[]", "columns that identify a table's rows", .type = OPTION_IDENTIFIER,
        OF_TABLE),
    ROW("objects.tables.*.distributed_by[]", "distribution key of a table in the Greenplum family",
        .type = OPTION_IDENTIFIER, OF_TABLE),

    ROW("existing",
        "what the full load does with tables that the destination has already; a job keeps to what it began "
        "with",
        CHOICE("fail|keep|truncate|drop"), DEFAULT("fail"), NOW(existing)),
    ROW("conflicts",
        "what to do when a change does not fit the destination's rows; what is skipped is kept: walferry "
        "dead-letters",
        CHOICE("stop|source-wins|skip"), DEFAULT("stop"), NOW(conflicts)),
    ROW("ddl",
        "what to do when a captured table changes its form: end and say what to do; load the table again; "
        "make the change at the destination. With the last two, new tables join",
        CHOICE("stop|pause-table|apply"), DEFAULT("stop"), NOW(ddl)),

    ROW("load.workers", "tables copied at the same time; auto: the number of cores, at most 8",
        NUMBER(1, 128), .automatic = true, DEFAULT("auto"), NOW(load.workers)),
    ROW("load.split_above",
        "larger tables are copied in ranges; auto: those that would keep one worker busy when the others are "
        "done",
        SIZE(MIB, PIB), .automatic = true, DEFAULT("auto"), NOW(load.split_above_bytes)),
    ROW("load.owners",
        "who owns the objects at the destination: the account of target.dsn, or who owns them at the source",
        CHOICE("destination-user|keep"), DEFAULT("destination-user"), NOW(load.owners)),
    ROW("load.privileges", "copy grants and default privileges", YES_OR_NO, DEFAULT("no"),
        NOW(load.privileges)),

    ROW("throttle.load.queries_per_s", "limit of queries at the source in the full load; 0: no limit", RATE,
        DEFAULT("0"), NOW(throttle.load.queries_per_s)),
    ROW("throttle.load.rows_per_s", "limit of rows in the full load; 0: no limit", RATE, DEFAULT("0"),
        NOW(throttle.load.rows_per_s)),
    ROW("throttle.load.bytes_per_s", "limit of bytes in the full load; 0: no limit", SIZE_RATE, DEFAULT("0"),
        NOW(throttle.load.bytes_per_s)),
    ROW("throttle.apply.rows_per_s", "limit of rows while applying changes; 0: no limit", RATE, DEFAULT("0"),
        NOW(throttle.apply.rows_per_s)),
    ROW("throttle.apply.bytes_per_s", "limit of bytes while applying changes; 0: no limit", SIZE_RATE,
        DEFAULT("0"), NOW(throttle.apply.bytes_per_s)),

    ROW("retry.connection", "how long a lost connection is tried again", PERIOD(0, 24 * HOURS),
        DEFAULT("720min"), NOW(retry.connection_ms)),
    ROW("retry.other", "how long other passing errors are tried again; at most retry.connection",
        PERIOD(0, 24 * HOURS), DEFAULT("10min"), NOW(retry.other_ms)),
    ROW("memory", "memory for changes on their way, beside three times the largest row",
        SIZE(16 * MIB, 64 * GIB), DEFAULT("128MiB"), NOW(memory_bytes)),
    ROW("log.level", "how much is logged", CHOICE("debug|info|warn|error"), DEFAULT("info"), NOW(log.level)),
    ROW("log.format", "form of a log line", CHOICE("text|json"), DEFAULT("text"), NOW(log.format)),
    ROW("spill.dir", "folder for transactions that do not fit into memory", TEXT(1, 4096),
        DEFAULT_MADE("$STATE_DIRECTORY or below /var/tmp"), NOW(spill.dir)),
    ROW("spill.max", "most bytes in that folder", SIZE(MIB, PIB), DEFAULT("20GiB"), NOW(spill.max_bytes)),
    ROW("file.path", "file that takes the changes as JSON lines", TEXT(1, 4096), NOW(file.path)),

    ROW("kafka.brokers", "addresses of the brokers", TEXT(1, 4096), NOW(kafka.brokers)),
    ROW("kafka.prefix", "first part of the topics' names", TEXT(1, 200), NOW(kafka.prefix)),
    ROW("kafka.format",
        "form of keys and values; avro without kafka.registry.url: single objects, whose schemas are in "
        "kafka.control",
        CHOICE("json|avro|protobuf"), DEFAULT("json"), .stored = true,
        .field = offsetof(Config, kafka.format), ONLY("json|avro|protobuf")),
    ROW("kafka.json_schema", "put the schema into each JSON record", YES_OR_NO, DEFAULT("no"),
        NOW(kafka.json_schema)),
    ROW("kafka.envelope", "shape of a record", CHOICE("debezium|flat|row+headers"), DEFAULT("debezium"),
        .stored = true, .field = offsetof(Config, kafka.envelope), ONLY("debezium|flat|row+headers")),
    ROW("kafka.control", "topic that keeps the progress", TEXT(1, 249), DEFAULT_MADE("<prefix>.walferry"),
        NOW(kafka.control)),
    ROW("kafka.groups",
        "list in kafka.control the transactions that were written, for readers that put whole ones together; "
        "the topic grows by it",
        YES_OR_NO, DEFAULT("yes"), NOW(kafka.groups)),
    ROW("kafka.topics.create", "create missing topics", YES_OR_NO, DEFAULT("yes"), NOW(kafka.create)),
    ROW("kafka.topics.partitions", "partitions of a new topic", NUMBER(1, 100000), DEFAULT("1"),
        NOW(kafka.partitions)),
    ROW("kafka.topics.replication", "replicas of a new topic; -1: the broker's default", NUMBER(-1, 1000),
        DEFAULT("-1"), NOW(kafka.replication)),
    ROW("kafka.topics.config.*", "setting of a new topic", TEXT(1, 4096), NOW(kafka.topic_config)),
    ROW("kafka.topics.route[].match",
        "regular expression (POSIX, extended) of the tables' topics to rename: of the whole name "
        "<prefix>.<schema>.<table>; the first route that matches counts",
        TEXT(1, 4096), ROUTE(match)),
    ROW("kafka.topics.route[].to",
        "what they are named instead; $1 or \\1 to $9 or \\9 stand for the groups in match; several tables "
        "may "
        "get one topic",
        TEXT(1, 4096), ROUTE(to)),
    ROW("kafka.topics.route[].key_field",
        "a field for the end of their keys that says <prefix>.<schema>.<table>, so that tables with one "
        "topic "
        "have different keys; Debezium's ByLogicalTableRouter has __dbz__physicalTableIdentifier; absent: "
        "none",
        TEXT(1, 200), ROUTE(key_field)),
    ROW("kafka.tombstones", "follow a delete by an empty record", YES_OR_NO, DEFAULT("yes"),
        NOW(kafka.tombstones)),
    ROW("kafka.context_headers",
        "give changes the headers __debezium.context.connectorLogicalName, taskId and connectorName, as "
        "Debezium "
        "does by default",
        YES_OR_NO, DEFAULT("no"), NOW(kafka.context_headers)),
    ROW("kafka.schema_changes",
        "write the shape of a table into the topic <prefix>: before its first row since the start, and when "
        "the "
        "shape changes",
        YES_OR_NO, DEFAULT("no"), NOW(kafka.schema_changes)),
    ROW("kafka.toast",
        "what stands for a value that the WAL does not carry; complete: it is read at the source, under the "
        "row's "
        "key",
        CHOICE("placeholder|absent|complete"), DEFAULT("placeholder"), NOW(kafka.toast)),
    ROW("kafka.special", "what to do with infinity and other values that have no JSON form",
        CHOICE("header|fail"), DEFAULT("header"), NOW(kafka.special)),
    ROW("kafka.transactions",
        "debezium: a topic of transactions, with begin and end of each, and in each event of the envelope "
        "debezium its place in its transaction",
        CHOICE("no|debezium"), DEFAULT("no"), NOW(kafka.transactions)),
    ROW("kafka.refused",
        "what to do with a record that cannot be written, because it is too large or holds what its format "
        "cannot say",
        CHOICE("stop|dead-letter"), DEFAULT("stop"), NOW(kafka.refused)),
    ROW("kafka.registry.url", "addresses of the schema registry", .type = OPTION_URLS, .secret = true,
        NOW(kafka.registry.url)),
    ROW("kafka.registry.user", "user at the schema registry", TEXT(1, 4096), .secret = true,
        NOW(kafka.registry.user)),
    ROW("kafka.registry.password", "password at the schema registry", TEXT(1, 4096), .secret = true,
        NOW(kafka.registry.password)),
    ROW("kafka.registry.ca", "file of the authority that signed its certificate; else the system's",
        TEXT(1, 4096), NOW(kafka.registry.ca)),
    ROW("kafka.delivery", "what is promised to readers", CHOICE("exactly-once|at-least-once"),
        DEFAULT("exactly-once"), NOW(kafka.delivery)),
    ROW("kafka.config.*", "setting of librdkafka", TEXT(1, 4096), .secret = true, NOW(kafka.config)),

    ROW("guard.retained_wal_alert", "retained WAL from which an alert is given", SIZE(MIB, PIB)),
    ROW("guard.retained_wal_limit", "retained WAL at which the guard acts", SIZE(MIB, PIB)),
    ROW("guard.at_limit", "what the guard does then", CHOICE("alert|spool|release"), DEFAULT("alert")),
    ROW("metrics.listen", "local address for metrics and health", .type = OPTION_ADDRESS),
    ROW("alerts.latency", "latency from which an alert is given", PERIOD(100 * MILLISECONDS, 24 * HOURS)),
    ROW("alerts.command", "command to run for an alert", TEXT(0, 4096), DEFAULT("")),
    ROW("alerts.webhook", "address to call for an alert", .type = OPTION_URL, .secret = true, DEFAULT("")),

    ROW("replay.group", "consumer group of the replay", TEXT(1, 200)),
    ROW("replay.from", "where the replay begins", .type = OPTION_POSITION),
    ROW("replay.until", "where the replay ends; absent: never", .type = OPTION_POSITION),
    ROW("replay.order", "the order that the replay keeps", CHOICE("transactional|per-key")),
    ROW("replay.create_tables", "create missing tables", YES_OR_NO),
    ROW("replay.new_columns", "what to do with columns that the target lacks", CHOICE("stop|add")),
    ROW("replay.poison", "what to do with a record that cannot be read", CHOICE("stop|dead-letter")),
};

_Static_assert(sizeof TABLE / sizeof *TABLE <= OPTIONS_MAX, "config_load keeps a place for every option");

const Option *options_table(size_t *count) {
    *count = sizeof TABLE / sizeof *TABLE;
    return TABLE;
}
