/* sink_kafka: changes as records of Kafka topics (kafka-contract.md).
 *
 * The unit is the group: whole source transactions in commit order. It is closed when nothing more is coming at the moment, or when
 * it is large or old enough; a source transaction is never split over groups.
 *   exactly-once   the group is one Kafka transaction: its records, the list of its transactions, and the position
 *   at-least-once  its records are produced; when every one of them is reported as written, list and position follow in a
 *                  Kafka transaction of their own
 * Durable is the end of the last group that is closed in this sense: nothing is confirmed before its records are acknowledged,
 * oldest first (L9), and the position is never ahead of them.
 *
 * One producer a session. What cannot be decided (a commit without an answer, a producer that is fenced or dead) ends the session.
 * The next one takes the slot first, so that two instances cannot fence each other in turns (F88); then a new producer with the
 * same transactional id settles the old transaction, the position is read, and sending goes on beyond it (trap A3). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/memory.h"
#include "sink/kafka/control_topic.h"
#include "sink/kafka/kafka_records.h"
#include "sink/kafka/kafka_rights.h"
#include "sink/kafka/topic_settings.h"

enum {
    LOOK_MS = 10000,  /* for brokers, at a start */
    GLANCE_MS = 2000, /* for topics, while it waits */
    RECOVER_MS =
        25000,     /* with the slot taken, whose server ends a session in which it hears nothing for long */
    REST_MS = 100, /* between two groups, where nothing more is coming: each costs the brokers 15 ms of CPU */
    GROUP_MS = 1000, /* a group's age while changes keep coming: who is behind gains nothing by small ones */
    GROUP_RECORDS = 100000,
    LIST_BYTES = 512 * 1024, /* of a group's list: well below what a broker takes as one record */
    NOTE_EVERY_MS = 1000,    /* the position over transactions without records */
    UNDECIDED_MS = 5 * 60000 /* without a sign of a broker, in exactly-once mode */
};

struct Sink {
    SinkOptions options;
    Config cfg; /* the job's, with what its topics take */
    bool exactly_once;
    KafkaWait wait;
    KafkaClient *looker, *control, *producer; /* exactly-once: the last two are one */
    KafkaRecords *records;
    GroupList *list;
    ControlRecord noted; /* as the control topic has it */
    bool had_record;
    bool transacting; /* `control` has an open transaction */
    bool inside;      /* a piece of a source transaction is written, its end is not */
    int64_t begun_ms, noted_ms, closed_ms;
    uint64_t group_records;
    Lsn written, durable; /* ends of source transactions */
    uint64_t left_out, changes, transactions;
    BeatStamps beat; /* the newest of the group; number 0: none */
};

static void kafka_close(Sink *s) {
    kafka_records_free(s->records);
    if (s->producer != s->control)
        kafka_client_free(s->producer);
    kafka_client_free(s->control);
    kafka_client_free(s->looker);
    group_list_free(s->list);
    free(s);
}

static bool is_promising(void *sink, Error *e) {
    Sink *s = sink;
    KafkaWait wait =
        kafka_wait_begin(&(KafkaWait){.ending = s->options.ending, .context = s->options.context}, GLANCE_MS);
    return s->records == NULL || kafka_records_remain(s->records, &wait, e);
}

static Sink *kafka_open(const SinkOptions *options, Error *e) {
    Sink *s = memory_new(sizeof *s);
    s->options = *options;
    s->exactly_once = options->cfg->kafka.delivery == DELIVERY_EXACTLY_ONCE;
    s->wait = (KafkaWait){.ending = options->ending,
                          .context = options->context,
                          .metrics = options->metrics,
                          .promising = is_promising,
                          .sink = s};
    s->list = group_list_new();
    s->looker = kafka_client_new(options->cfg, KAFKA_LOOK, NULL, e);
    if (s->looker != NULL)
        return s;
    kafka_close(s);
    return NULL;
}

/* How long nothing may move in a session. */
static int64_t patience_ms(const Sink *s) {
    int64_t third_ms = kafka_transaction_ms(s->options.cfg) / 3;
    if (!s->exactly_once)
        return s->options.cfg->retry.connection_ms;
    return third_ms < UNDECIDED_MS ? third_ms : UNDECIDED_MS;
}

/* ---- where it stands ---- */

/* A sink without a record begins where the sinks before it stand. */
static bool look(Sink *s, bool settled, Position *out, Error *e) {
    KafkaWait wait = kafka_wait_begin(&s->wait, settled ? RECOVER_MS : LOOK_MS);
    if (!control_read(s->options.cfg, settled, &wait, &s->noted, e))
        return false;
    s->had_record = s->noted.exists && !s->noted.intent;
    if (!s->had_record) {
        if (s->options.begin == NULL || lsn_is_none(s->options.begin->applied)) {
            fail(e, ERR_LOST, "topic \"%s\" has no position of job \"%s\"", s->options.cfg->kafka.control,
                 s->options.cfg->name);
            return fail_hint(e, "it was deleted, or the job began with another kafka.control");
        }
        s->noted = (ControlRecord){.exists = true, .position = *s->options.begin};
    }
    *out = s->noted.position;
    return true;
}

static bool kafka_peek(Sink *s, Position *out, Error *e) {
    return look(s, false, out, e);
}

static bool position_note(Sink *s, Error *e) {
    assert(!s->transacting);
    s->wait = kafka_wait_begin(&s->wait, patience_ms(s));
    s->noted_ms = clock_ms();
    return control_write(s->control, &s->noted, &s->wait, e);
}

static bool producers_open(Sink *s, Error *e) {
    const Config *cfg = &s->cfg;
    KafkaWait wait = kafka_wait_begin(&s->wait, RECOVER_MS);
    topic_settings_batch(s->looker, s->options.cfg, s->options.selection, &s->cfg, &s->wait);
    s->control = control_take(cfg, s->noted.position.system_id, s->noted.workers, &wait, e);
    if (s->control == NULL)
        return false;
    s->producer = s->exactly_once ? s->control : kafka_client_new(cfg, KAFKA_PRODUCE, NULL, e);
    if (s->producer == NULL)
        return false;
    s->records = kafka_records_new(&s->options, s->producer, s->looker, e);
    return s->records != NULL && kafka_records_topics(s->records, &wait, e);
}

/* Between the look without the slot and this one another instance may have begun to load tables again: what its workers wrote
 * behind the stream would take keys back. */
static bool late_workers_take(Sink *s, int taken, Error *e) {
    KafkaWait wait = kafka_wait_begin(&s->wait, RECOVER_MS);
    return s->noted.workers <= taken ||
           control_workers_take(&s->cfg, s->noted.position.system_id, s->noted.workers, &wait, e);
}

/* A first position is written at once: were the first group the first to do so, a kill before it would let this sink begin
 * where the sinks before it have come to meanwhile. */
static bool kafka_recover(Sink *s, Position *out, Error *e) {
    int taken = s->noted.workers;
    if (!producers_open(s, e) || !FAULT("kafka.before_position_read", e) || !look(s, true, out, e) ||
        !late_workers_take(s, taken, e))
        return false;
    s->written = s->durable = out->applied;
    return s->had_record || position_note(s, e);
}

static bool kafka_follow(Sink *s, const Position *now, Error *e) {
    s->noted.position = *now;
    return position_note(s, e);
}

/* ---- groups ---- */

static bool group_is_open(const Sink *s) {
    return lsn_before(s->durable, s->written) || s->inside;
}

static bool group_begin(Sink *s, Error *e) {
    if (s->transacting || group_is_open(s))
        return true;
    if (!kafka_is_settled(s->control, e))
        return false;
    s->wait = kafka_wait_begin(&s->wait, patience_ms(s));
    s->begun_ms = clock_ms();
    s->transacting = s->exactly_once;
    return !s->exactly_once || kafka_begin(s->control, e);
}

/* Only where no other sink tells the same. */
static void group_tell(Sink *s) {
    Metrics *m = s->options.metrics;
    if (s->options.cfg->target.dsn == NULL && s->options.cfg->file.path == NULL) {
        atomic_fetch_add(&m->transactions, (long long)s->transactions);
        atomic_fetch_add(&m->changes, (long long)s->changes);
        atomic_fetch_add(&m->left_out, (long long)s->left_out);
        atomic_store(&m->applied_lsn, s->durable.at);
        s->beat.applied_us = clock_us();
        if (s->beat.number != 0)
            metrics_beat(m, &s->beat);
    }
    s->transactions = s->changes = s->left_out = 0;
    s->beat.number = 0;
}

static bool group_close(Sink *s, Error *e) {
    assert(!s->inside);
    if (!s->exactly_once && !(kafka_drain(s->producer, &s->wait, e) && kafka_begin(s->control, e)))
        return false;
    s->noted.position.applied = s->written;
    s->noted.position.bound = lsn_max(s->noted.position.bound, s->written);
    s->noted_ms = clock_ms();
    if (s->options.cfg->kafka.groups && !group_list_is_empty(s->list) &&
        !control_group_put(s->control, s->written, group_list_text(s->list), &s->wait, e))
        return false;
    if (!control_position_put(s->control, &s->noted, &s->wait, e) || !FAULT("kafka.before_commit", e))
        return false;
    if (!kafka_commit(s->control, &s->wait, e) || !FAULT("kafka.after_commit", e))
        return false;
    s->transacting = false;
    s->group_records = 0;
    s->closed_ms = clock_ms();
    s->durable = s->written;
    group_list_reset(s->list);
    group_tell(s);
    return true;
}

static bool has_records(const Sink *s) {
    return s->group_records > 0;
}

static bool group_is_due(const Sink *s, bool flush, bool last) {
    if (s->inside || !group_is_open(s))
        return false;
    if (has_records(s))
        return (flush && (last || clock_ms() - s->closed_ms >= REST_MS)) ||
               clock_ms() - s->begun_ms >= GROUP_MS || s->group_records >= GROUP_RECORDS ||
               group_list_bytes(s->list) >= LIST_BYTES;
    return last || clock_ms() - s->noted_ms >= NOTE_EVERY_MS;
}

/* ---- changes ---- */

static void note_beats(Sink *s, const Batch *b, const Transaction *tx) {
    uint32_t beats = 0;
    for (uint32_t at = 0; at < tx->count; at++)
        if (tx->changes[at].kind == CHANGE_BEAT) {
            s->beat = (BeatStamps){tx->changes[at].beat.number, b->received_us, b->decoded_us, clock_us(), 0};
            beats++;
        }
    s->changes += tx->count - beats;
    s->transactions += tx->ends && tx->count > beats ? 1 : 0;
}

/* One that comes in pieces has its own group: were it cut short, what is whole before it would have to be sent again. */
static bool write_piece(Sink *s, const Batch *b, const Transaction *tx, Error *e) {
    if (tx->begins && !tx->ends && has_records(s) && !group_close(s, e))
        return false;
    if (!group_begin(s, e))
        return false;
    uint64_t before = s->producer->produced;
    if (!kafka_records_write(s->records, tx, s->written, s->list, &s->left_out, &s->wait, e) ||
        !FAULT("kafka.piece", e))
        return false;
    s->group_records += s->producer->produced - before;
    note_beats(s, b, tx);
    s->inside = !tx->ends;
    if (!tx->ends)
        return true;
    group_list_end(s->list, tx->xid, tx->end);
    s->written = tx->end;
    return true;
}

/* A broker ends a transaction that takes too long, and with it the producer: it would begin again for ever. */
static bool in_time(const Sink *s, Error *e) {
    int64_t most_ms = kafka_transaction_ms(s->options.cfg) / 10 * 9;
    if (!s->transacting || !s->inside || clock_ms() - s->begun_ms < most_ms)
        return true;
    fail(e, ERR_LIMIT, "kafka: a source transaction takes longer than a Kafka transaction may (%lld s)",
         (long long)most_ms / 1000);
    return fail_hint(
        e, "raise transaction.max.timeout.ms of the brokers and kafka.config's transaction.timeout.ms, "
           "or set kafka.delivery to at-least-once");
}

/* Which topic it is that may not be written: the session is over, so its transactional id is free for the trial. */
static void denied_find(Sink *s, Error *e) {
    Error why;
    KafkaWait wait = kafka_wait_begin(&s->wait, LOOK_MS);
    if (!kafka_rights_try(s->options.cfg, s->options.selection, s->noted.position.system_id, &wait, &why) &&
        why.kind == ERR_CONFIG)
        *e = why;
}

/* A cluster that starts may not know its topics for a moment. One that it has without doubt not any more was deleted. Always
 * false. */
static bool judged(Sink *s, Error *e) {
    bool there;
    Error why;
    KafkaWait wait = kafka_wait_begin(&s->wait, LOOK_MS);
    if (e->kind == ERR_CONFIG && s->producer->denied)
        denied_find(s, e);
    if (e->kind == ERR_CONFIG && s->producer->unknown) {
        if (kafka_records_remain(s->records, &wait, &why))
            e->kind = ERR_RETRY;
        else
            *e = why;
        return false;
    }
    if (e->kind != ERR_CONFIG || s->producer->refused_topic[0] == '\0')
        return false;
    if (!topics_there(s->looker, s->producer->refused_topic, &there, &wait, &why) || there)
        e->kind = ERR_RETRY;
    return false;
}

static bool write_batch(Sink *s, const Batch *b, Error *e) {
    kafka_records_ahead(s->records, b);
    for (uint32_t number = 0; number < b->count; number++) {
        const Transaction *tx = &b->transactions[number];
        if (!s->inside && !lsn_before(s->written, tx->end))
            continue;
        if (!write_piece(s, b, tx, e) || !in_time(s, e))
            return false;
        if (group_is_due(s, false, false) && !group_close(s, e))
            return false;
    }
    kafka_records_ahead(s->records, NULL);
    return kafka_serve(s->producer, 0, e);
}

static bool kafka_write(Sink *s, Batch *b, Error *e) {
    return write_batch(s, b, e) || judged(s, e);
}

static bool kafka_settle(Sink *s, bool flush, int wait_ms, Lsn *durable, Error *e) {
    if (!kafka_serve(s->producer, 0, e) || (s->control != s->producer && !kafka_serve(s->control, 0, e)))
        return judged(s, e);
    if (group_is_due(s, flush, wait_ms > 0) && !group_close(s, e))
        return judged(s, e);
    kafka_records_rest(s->records);
    *durable = s->durable;
    return true;
}

static bool kafka_promise(Sink *s, Lsn upto, Error *e) {
    if (group_is_open(s) && !s->inside && !group_close(s, e))
        return false;
    s->noted.position.bound = lsn_max(s->noted.position.bound, upto);
    return position_note(s, e);
}

const SinkOps sink_kafka = {
    .name = "kafka",
    .open = kafka_open,
    .peek = kafka_peek,
    .recover = kafka_recover,
    .follow = kafka_follow,
    .write = kafka_write,
    .settle = kafka_settle,
    .promise = kafka_promise,
    .close = kafka_close,
};
