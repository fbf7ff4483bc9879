/* kafka_client: librdkafka as this program uses it: clients with the job's settings, librdkafka's errors as ours, and waits
 * that end. A client is touched by one thread; librdkafka's own threads only queue what kafka_serve then hears of.
 *
 * Errors. What librdkafka goes on trying by itself (a broker that is away) is no error until a wait for it is over; it is kept
 * as the trouble, and told. A record that a broker refused is kept as the refusal, and ends the group that it is in. Everything
 * else is an Error at once: rights and settings ERR_CONFIG, a record ERR_DATA, the rest ERR_RETRY: the session begins anew,
 * with a new producer (traps A3, F88).
 * Values of kafka.config may be secrets: they are handed to librdkafka and never said. */
#ifndef WALFERRY_SINK_KAFKA_CLIENT_H
#define WALFERRY_SINK_KAFKA_CLIENT_H

#include <stdatomic.h>

#include <librdkafka/rdkafka.h>

#include "core/bytes.h"
#include "core/config.h"
#include "core/error.h"
#include "core/metrics.h"

typedef enum KafkaUse {
    KAFKA_LOOK,     /* metadata and administration only */
    KAFKA_READ,     /* read_committed, no consumer group */
    KAFKA_PRODUCE,  /* idempotent */
    KAFKA_TRANSACT, /* with the job's transactional id: fences whoever had it before */
    KAFKA_TRY,      /* the same; records linger, and all are reported */
} KafkaUse;

typedef struct KafkaClient {
    rd_kafka_t *handle;
    KafkaUse use;
    const Config *cfg;
    uint64_t produced, reported; /* records; reported: the broker has them, or has refused them */
    bool dead;                   /* fatally: nothing goes any more; `trouble` says why */
    int64_t trouble_ms;          /* monotonic clock; 0: none since the last report */
    Error trouble;               /* the newest */
    Error refusal;               /* the first record that was refused; ERR_NONE: none */
    bool denied;                 /* the right to write into a topic, which the brokers do not name */
    bool unknown;                /* a topic, likewise */
    char refused_topic[250];     /* by a cluster that does not know this topic; "": not for that */
    atomic_int ends_unanswered;  /* requests to end the last transaction; by threads of librdkafka */
    bool open;                   /* a transaction was begun, and neither committed nor given up */
    bool undecided;              /* its commit was asked for, and may come about */
    atomic_bool
        end_lost; /* it was asked for again while an earlier request had no answer, and may still come */
} KafkaClient;

/* How long somebody waits, and who is to be told of it. Where the job is to end, a few seconds are left. */
typedef struct KafkaWait {
    bool (*ending)(void *context); /* NULL: never */
    void *context;
    /* Asked every few seconds of a wait; false: it is in vain, and e says why. NULL: nobody knows. librdkafka would wait for a topic
     * that was deleted as for one without a leader. */
    bool (*promising)(void *sink, Error *e);
    void *sink;
    Metrics *metrics;  /* NULL: nobody */
    int64_t begun_ms;  /* monotonic clock: since when nothing has moved */
    int64_t most_ms;   /* for so long */
    int64_t asked_ms;  /* monotonic clock: when `promising` was */
    int64_t ending_ms; /* monotonic clock: since when the job is to end; 0: it is not */
    bool told;         /* that it takes long */
} KafkaWait;

/* transactional_id: with KAFKA_TRANSACT. Connects to nobody yet. */
KafkaClient *kafka_client_new(const Config *cfg, KafkaUse use, const char *transactional_id, Error *e);
/* What is on its way is dropped, and an open transaction given up, for which it waits a little: it would keep readers from what
 * comes behind it. One whose commit is undecided is left to whoever takes the id next. NULL is fine. */
void kafka_client_free(KafkaClient *c);

typedef struct KafkaRecord {
    rd_kafka_topic_t *topic;
    int32_t partition;           /* RD_KAFKA_PARTITION_UA: by the key */
    Slice key, value;            /* at == NULL: none. Copied */
    rd_kafka_headers_t *headers; /* taken over in any case; NULL: none */
} KafkaRecord;

/* Waits where librdkafka's queue is full. ERR_DATA: this record can not be sent; nothing else has happened. */
bool kafka_produce(KafkaClient *c, const KafkaRecord *record, KafkaWait *wait, Error *e);
/* Hears of what has come, for at most wait_ms. False: the client is of no use any more. */
bool kafka_serve(KafkaClient *c, int wait_ms, Error *e);
/* Waits until all that was produced is reported. False also when something was refused. */
bool kafka_drain(KafkaClient *c, KafkaWait *wait, Error *e);
/* For another wait of the same sink, which begins now. */
KafkaWait kafka_wait_begin(const KafkaWait *like, int64_t most_ms);
/* True while there is still time; else e says why nobody waits any more. */
bool kafka_patient(const KafkaClient *c, KafkaWait *wait, const char *doing, Error *e);
void kafka_moved(KafkaWait *wait); /* something has: patience begins anew */

/* The same id's last transaction is finished or aborted, and whoever had the id is fenced. */
bool kafka_transact(KafkaClient *c, KafkaWait *wait, Error *e);
/* librdkafka asks again for a commit that was not answered; the first request may still be on its way then, and would commit half
 * of the next transaction (KIP-890 closes this; librdkafka does not have it yet). A new producer is safe from it. False: so it is. */
bool kafka_is_settled(const KafkaClient *c, Error *e);
bool kafka_begin(KafkaClient *c, Error *e); /* false also where the last one is not settled */
/* Asks for it, and waits at most so long. */
void kafka_abort(KafkaClient *c, int most_ms);
/* False: it may be committed all the same, unless e is about a refusal. */
bool kafka_commit(KafkaClient *c, KafkaWait *wait, Error *e);

/* Of kafka.config, where it says so. */
int64_t kafka_given_number(const Config *cfg, const char *name, int64_t usual);
int64_t kafka_transaction_ms(const Config *cfg); /* transaction.timeout.ms */
int64_t kafka_message_bytes(const Config *cfg);  /* message.max.bytes */

/* Fill e and return false. The second one takes over `error`. */
bool kafka_failed(const KafkaClient *c, rd_kafka_resp_err_t code, const char *text, const char *what,
                  Error *e);
bool kafka_error_failed(const KafkaClient *c, rd_kafka_error_t *error, const char *what, Error *e);

#endif
