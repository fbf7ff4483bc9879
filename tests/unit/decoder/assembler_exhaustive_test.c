/* Every sequence of messages up to a length, against a little model that says for each prefix whether it is accepted
 * and what came out so far (F64). A session that refused is over, so nothing is tried behind a refusal. Each relation
 * has the name of the step that announced it, so that the text says which version was in force. */
#include "core/ledger.h"
#include "data/assembling.h"

/* Slow builds stop earlier. */
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
enum { LENGTH = 5 };
#else
enum { LENGTH = 6 };
#endif

enum {
    STREAMS = 2,
    APPLIED = 1,
    BACK = 5,
    LATE = 10,
    LATE_BEFORE = 100 /* where the first may be */,
    NOBODY = -1
};

typedef enum Letter {
    LETTER_BEGIN,
    LETTER_BEGIN_BACK, /* its commit lies before everything else */
    LETTER_COMMIT,
    LETTER_COMMIT_OTHER, /* not where BEGIN said */
    LETTER_RELATION,
    LETTER_RELATION_OF_SUB,
    LETTER_INSERT,
    LETTER_INSERT_OF_SUB,
    LETTER_MESSAGE, /* not transactional */
    LETTER_FIRST_1,
    LETTER_FIRST_2,
    LETTER_AGAIN_1,
    LETTER_AGAIN_2,
    LETTER_STOP,
    LETTER_STREAM_COMMIT_1,
    LETTER_STREAM_COMMIT_2,
    LETTER_STREAM_COMMIT_BACK, /* of the first, before everything else */
    LETTER_ABORT_1,
    LETTER_ABORT_2,
    LETTER_ABORT_SUB_1,
    LETTER_ABORT_SUB_2,
    LETTER_BEGIN_PREPARE,
    LETTER_BEGIN_PREPARE_LATE, /* before the server's beginning */
    LETTER_PREPARE,            /* of what BEGIN PREPARE said, or alone */
    LETTER_PREPARE_LATE,       /* alone */
    LETTER_PREPARE_OTHER,      /* not where BEGIN PREPARE said */
    LETTER_PREPARE_OTHER_XID,
    LETTER_COMMIT_PREPARED,
    LETTER_COMMIT_PREPARED_OTHER_XID,
    LETTER_COMMIT_PREPARED_BACK,
    LETTER_ROLLBACK_PREPARED,
    LETTER_STREAM_PREPARE_1,
    LETTER_STREAM_PREPARE_LATE /* of the first */
} Letter;

/* Without two-phase any of its letters ends the session. */
static const Letter ORDINARY[] = {LETTER_BEGIN,
                                  LETTER_BEGIN_BACK,
                                  LETTER_COMMIT,
                                  LETTER_COMMIT_OTHER,
                                  LETTER_RELATION,
                                  LETTER_RELATION_OF_SUB,
                                  LETTER_INSERT,
                                  LETTER_INSERT_OF_SUB,
                                  LETTER_MESSAGE,
                                  LETTER_FIRST_1,
                                  LETTER_FIRST_2,
                                  LETTER_AGAIN_1,
                                  LETTER_AGAIN_2,
                                  LETTER_STOP,
                                  LETTER_STREAM_COMMIT_1,
                                  LETTER_STREAM_COMMIT_2,
                                  LETTER_STREAM_COMMIT_BACK,
                                  LETTER_ABORT_1,
                                  LETTER_ABORT_2,
                                  LETTER_ABORT_SUB_1,
                                  LETTER_ABORT_SUB_2,
                                  LETTER_PREPARE};
static const Letter TWO_PHASE[] = {LETTER_BEGIN,
                                   LETTER_COMMIT,
                                   LETTER_RELATION,
                                   LETTER_INSERT,
                                   LETTER_MESSAGE,
                                   LETTER_FIRST_1,
                                   LETTER_AGAIN_1,
                                   LETTER_STOP,
                                   LETTER_STREAM_COMMIT_1,
                                   LETTER_ABORT_1,
                                   LETTER_BEGIN_PREPARE,
                                   LETTER_BEGIN_PREPARE_LATE,
                                   LETTER_PREPARE,
                                   LETTER_PREPARE_LATE,
                                   LETTER_PREPARE_OTHER,
                                   LETTER_PREPARE_OTHER_XID,
                                   LETTER_COMMIT_PREPARED,
                                   LETTER_COMMIT_PREPARED_OTHER_XID,
                                   LETTER_COMMIT_PREPARED_BACK,
                                   LETTER_ROLLBACK_PREPARED,
                                   LETTER_STREAM_PREPARE_1,
                                   LETTER_STREAM_PREPARE_LATE};
#define LETTERS(list) list, sizeof list / sizeof list[0]

enum {
    XID_OTHER = 8,
    XID_NORMAL = 9,
    XID_STREAM = 10,
    XID_STEP = 10
}; /* streams 10 and 20, their subtransactions 11 and 21 */

/* ---- the model ---- */

typedef struct Frames {
    struct {
        Letter what;
        int step;
        bool of_sub;
    } frames[LENGTH];
    int count;
    bool known;
} Frames;

typedef struct Model {
    Frames normal, streams[STREAMS]; /* normal.known: between BEGIN and COMMIT */
    Frames late;                     /* known: the COMMIT PREPARED is to come */
    bool two_phase, prepares;        /* normal began with BEGIN PREPARE */
    int inside;                      /* the stream between START and STOP, or NOBODY */
    int final, last_end;
    int relation; /* step of the last global one, plus 1; 0: none */
    int ignored;
    Writer *out;
} Model;

static int place(int step) {
    return 100 * (step + 1);
}

/* The frames of a transaction, in the scope of their own for a stream. False: a row before its relation. */
static bool model_rows(Model *m, const Frames *frames, bool streamed) {
    int seq = 0, relation = streamed ? 0 : m->relation;
    for (int frame = 0; frame < frames->count; frame++) {
        int step = frames->frames[frame].step;
        if (frames->frames[frame].what == LETTER_RELATION) {
            relation = step + 1;
        } else if (frames->frames[frame].what == LETTER_MESSAGE) {
            writer_format(m->out, " %d:m app=%d", seq++, step);
        } else {
            if (relation == 0)
                return false;
            writer_format(m->out, " %d:I t%d(%d)", seq++, relation, step);
        }
    }
    if (relation > m->relation) /* steps are the order of arrival */
        m->relation = relation;
    return true;
}

typedef struct Ending {
    int xid, commit, end;
    bool streamed;
    const char *what; /* what it does when it does not commit */
} Ending;

static bool model_deliver(Model *m, Frames *frames, Ending ending) {
    Frames gone = *frames;
    int commit = ending.commit, end = ending.end;
    *frames = (Frames){0};
    if (commit >= end || end <= m->last_end)
        return false;
    m->last_end = end;
    writer_format(m->out, "[%d %d-%d", ending.xid, commit, end);
    if (!model_rows(m, &gone, ending.streamed))
        return false;
    writer_format(m->out, "%s]", ending.what == NULL ? "" : ending.what);
    return true;
}

static bool model_frame(Model *m, Letter what, bool of_sub, int step) {
    Frames *frames = m->inside != NOBODY ? &m->streams[m->inside] : m->normal.known ? &m->normal : NULL;
    if (frames != NULL) {
        frames->frames[frames->count].what = what;
        frames->frames[frames->count].step = step;
        frames->frames[frames->count++].of_sub = of_sub;
        return true;
    }
    if (what == LETTER_RELATION)
        m->relation = step + 1;
    if (what != LETTER_MESSAGE)
        return what == LETTER_RELATION;
    Frames alone = {.count = 1};
    alone.frames[0].what = what;
    alone.frames[0].step = step;
    return model_deliver(m, &alone, (Ending){.commit = place(step) - 1, .end = place(step)});
}

static bool model_start(Model *m, int stream, bool first) {
    if (m->normal.known || m->inside != NOBODY || m->streams[stream].known == first)
        return false;
    m->streams[stream].known = true;
    m->inside = stream;
    return true;
}

static bool model_abort(Model *m, int stream, bool sub) {
    Frames *frames = &m->streams[stream];
    if (m->normal.known || m->inside != NOBODY)
        return false;
    if (!frames->known)
        m->ignored++;
    if (!sub)
        *frames = (Frames){0};
    for (int frame = 0; frame < frames->count; frame++)
        if (frames->frames[frame].of_sub)
            frames->count = frame;
    return true;
}

static bool model_stream_end(Model *m, int stream, int commit, const char *what) {
    if (m->normal.known || m->inside != NOBODY || !m->streams[stream].known)
        return false;
    return model_deliver(m, &m->streams[stream],
                         (Ending){XID_STREAM + stream * XID_STEP, commit, commit + 1, true, what});
}

static bool model_commit(Model *m, bool as_begun) {
    if (!m->normal.known || m->prepares || !as_begun)
        return false;
    return model_deliver(m, &m->normal, (Ending){.xid = XID_NORMAL, .commit = m->final, .end = m->final + 1});
}

static bool model_begin(Model *m, int final, bool prepares) {
    if (m->normal.known || m->inside != NOBODY)
        return false;
    m->normal.known = true;
    m->final = final;
    m->prepares = prepares;
    return true;
}

/* A PREPARE alone is of a transaction without rows; one that is late would have been sent with its COMMIT PREPARED. */
static bool model_prepare(Model *m, int alone_at) {
    bool alone = !m->normal.known && m->inside == NOBODY;
    int at = m->normal.known ? m->final : alone_at;
    if (alone ? at < LATE_BEFORE : !m->normal.known || !m->prepares)
        return false;
    if (at >= LATE_BEFORE)
        return model_deliver(m, &m->normal, (Ending){XID_NORMAL, at, at + 1, false, " prepares"});
    m->late = m->normal;
    m->normal = (Frames){0};
    return true;
}

static bool model_commit_prepared(Model *m, int xid, int at) {
    if (m->normal.known || m->inside != NOBODY || (m->late.known && xid != XID_NORMAL))
        return false;
    return model_deliver(m, &m->late,
                         (Ending){xid, at, at + 1, false, m->late.known ? NULL : " commits prepared"});
}

static bool model_rollback_prepared(Model *m, int at) {
    if (m->normal.known || m->inside != NOBODY)
        return false;
    return model_deliver(m, &(Frames){0}, (Ending){XID_NORMAL, at, at + 1, false, " rolls back prepared"});
}

static bool model_two_phase(Model *m, Letter letter, int step) {
    if (!m->two_phase)
        return false;
    switch (letter) {
    case LETTER_BEGIN_PREPARE: return model_begin(m, place(step), true);
    case LETTER_BEGIN_PREPARE_LATE: return model_begin(m, LATE + step, true);
    case LETTER_PREPARE: return model_prepare(m, place(step));
    case LETTER_PREPARE_LATE: return model_prepare(m, LATE + step);
    case LETTER_COMMIT_PREPARED: return model_commit_prepared(m, XID_NORMAL, place(step));
    case LETTER_COMMIT_PREPARED_OTHER_XID: return model_commit_prepared(m, XID_OTHER, place(step));
    case LETTER_COMMIT_PREPARED_BACK: return model_commit_prepared(m, XID_NORMAL, BACK);
    case LETTER_ROLLBACK_PREPARED: return model_rollback_prepared(m, place(step));
    case LETTER_STREAM_PREPARE_1: return model_stream_end(m, 0, place(step), " prepares");
    default: return false; /* another place, another xid; and what is late is never streamed */
    }
}

static bool model_step(Model *m, Letter letter, int step) {
    if (m->late.known && (letter < LETTER_COMMIT_PREPARED || letter > LETTER_COMMIT_PREPARED_BACK))
        return false;
    switch (letter) {
    case LETTER_BEGIN: return model_begin(m, place(step), false);
    case LETTER_BEGIN_BACK: return model_begin(m, BACK, false);
    case LETTER_COMMIT: return model_commit(m, true);
    case LETTER_COMMIT_OTHER: return model_commit(m, false);
    case LETTER_RELATION: return model_frame(m, LETTER_RELATION, false, step);
    case LETTER_RELATION_OF_SUB: return model_frame(m, LETTER_RELATION, true, step);
    case LETTER_INSERT: return model_frame(m, LETTER_INSERT, false, step);
    case LETTER_INSERT_OF_SUB: return model_frame(m, LETTER_INSERT, true, step);
    case LETTER_MESSAGE: return model_frame(m, LETTER_MESSAGE, false, step);
    case LETTER_FIRST_1: return model_start(m, 0, true);
    case LETTER_FIRST_2: return model_start(m, 1, true);
    case LETTER_AGAIN_1: return model_start(m, 0, false);
    case LETTER_AGAIN_2: return model_start(m, 1, false);
    case LETTER_STOP: {
        bool inside = m->inside != NOBODY;
        m->inside = NOBODY;
        return inside;
    }
    case LETTER_STREAM_COMMIT_1: return model_stream_end(m, 0, place(step), NULL);
    case LETTER_STREAM_COMMIT_2: return model_stream_end(m, 1, place(step), NULL);
    case LETTER_STREAM_COMMIT_BACK: return model_stream_end(m, 0, BACK, NULL);
    case LETTER_ABORT_1: return model_abort(m, 0, false);
    case LETTER_ABORT_2: return model_abort(m, 1, false);
    case LETTER_ABORT_SUB_1: return model_abort(m, 0, true);
    case LETTER_ABORT_SUB_2: return model_abort(m, 1, true);
    default: return model_two_phase(m, letter, step);
    }
}

/* ---- the frames ---- */

/* False: the same as another letter here. */
static bool line_write_two_phase(const Model *m, Letter letter, int step, char *line, size_t size) {
    bool known = m->normal.known;
    int at = place(step), final = known ? m->final : at;
    switch (letter) {
    case LETTER_BEGIN_PREPARE: snprintf(line, size, "b %d %d %d", XID_NORMAL, at, at + 1); break;
    case LETTER_BEGIN_PREPARE_LATE:
        snprintf(line, size, "b %d %d %d", XID_NORMAL, LATE + step, LATE + step + 1);
        break;
    case LETTER_PREPARE: snprintf(line, size, "P %d %d %d", XID_NORMAL, final, final + 1); break;
    case LETTER_PREPARE_LATE:
        snprintf(line, size, "P %d %d %d", XID_NORMAL, LATE + step, LATE + step + 1);
        return !known;
    case LETTER_PREPARE_OTHER:
        snprintf(line, size, "P %d %d %d", XID_NORMAL, final + 1, final + 2);
        return known;
    case LETTER_PREPARE_OTHER_XID:
        snprintf(line, size, "P %d %d %d", XID_OTHER, final, final + 1);
        return known;
    case LETTER_COMMIT_PREPARED: snprintf(line, size, "K %d %d %d", XID_NORMAL, at, at + 1); break;
    case LETTER_COMMIT_PREPARED_OTHER_XID: snprintf(line, size, "K %d %d %d", XID_OTHER, at, at + 1); break;
    case LETTER_COMMIT_PREPARED_BACK: snprintf(line, size, "K %d %d %d", XID_NORMAL, BACK, BACK + 1); break;
    case LETTER_ROLLBACK_PREPARED: snprintf(line, size, "r %d %d %d", XID_NORMAL, at - 7, at + 1); break;
    case LETTER_STREAM_PREPARE_1: snprintf(line, size, "p 10 %d %d", at, at + 1); break;
    default: snprintf(line, size, "p 10 %d %d", LATE + step, LATE + step + 1); break;
    }
    return true;
}

/* False: the same as another letter here. */
static bool line_write(const Model *m, Letter letter, int step, char *line, size_t size) {
    char who[20] = "";
    bool of_sub = letter == LETTER_RELATION_OF_SUB || letter == LETTER_INSERT_OF_SUB;
    int at = place(step), top = XID_STREAM + m->inside * XID_STEP;
    if (of_sub && m->inside == NOBODY)
        return false;
    if (m->inside != NOBODY)
        snprintf(who, sizeof who, "%d:", top + (of_sub ? 1 : 0));
    switch (letter) {
    case LETTER_BEGIN: snprintf(line, size, "B %d %d", XID_NORMAL, at); break;
    case LETTER_BEGIN_BACK: snprintf(line, size, "B %d %d", XID_NORMAL, BACK); break;
    case LETTER_COMMIT: snprintf(line, size, "C %d %d", m->final, m->final + 1); break;
    case LETTER_COMMIT_OTHER: snprintf(line, size, "C %d %d", m->final + 1, m->final + 2); break;
    case LETTER_RELATION:
    case LETTER_RELATION_OF_SUB: snprintf(line, size, "%sR 1 t%d id*", who, step + 1); break;
    case LETTER_INSERT:
    case LETTER_INSERT_OF_SUB: snprintf(line, size, "%sI 1 %d", who, step); break;
    case LETTER_MESSAGE: snprintf(line, size, "%sm %d app %d", who, at, step); break;
    case LETTER_FIRST_1:
    case LETTER_FIRST_2: snprintf(line, size, "S %d first", letter == LETTER_FIRST_1 ? 10 : 20); break;
    case LETTER_AGAIN_1:
    case LETTER_AGAIN_2: snprintf(line, size, "S %d again", letter == LETTER_AGAIN_1 ? 10 : 20); break;
    case LETTER_STOP: snprintf(line, size, "E"); break;
    case LETTER_STREAM_COMMIT_1: snprintf(line, size, "c 10 %d %d", at, at + 1); break;
    case LETTER_STREAM_COMMIT_2: snprintf(line, size, "c 20 %d %d", at, at + 1); break;
    case LETTER_STREAM_COMMIT_BACK: snprintf(line, size, "c 10 %d %d", BACK, BACK + 1); break;
    case LETTER_ABORT_1: snprintf(line, size, "A 10 10"); break;
    case LETTER_ABORT_2: snprintf(line, size, "A 20 20"); break;
    case LETTER_ABORT_SUB_1: snprintf(line, size, "A 10 11"); break;
    case LETTER_ABORT_SUB_2: snprintf(line, size, "A 20 21"); break;
    default: return line_write_two_phase(m, letter, step, line, size);
    }
    return true;
}

/* ---- all sequences ---- */

typedef struct Form {
    const char *name;
    const Letter *letters;
    size_t letter_count;
    size_t held_bytes;
    uint32_t batch_changes;
    int length;
} Form;

static const Form FORMS[] = {
    {"whole", LETTERS(ORDINARY), 1 << 20, 1000, LENGTH},
    {"in pieces", LETTERS(ORDINARY), 1 << 20, 1, LENGTH},
    {"from disk", LETTERS(ORDINARY), 0, 2, LENGTH - 1}, /* a file for each transaction takes its time */
    {"two-phase", LETTERS(TWO_PHASE), 1 << 20, 1000, LENGTH},
    {"two-phase in pieces", LETTERS(TWO_PHASE), 1 << 20, 1, LENGTH - 1},
    {"two-phase from disk", LETTERS(TWO_PHASE), 0, 2, LENGTH - 1}};

typedef struct Walk {
    const Form *form;
    char lines[LENGTH][40]; /* the sequence so far */
    Writer expected;
    uint64_t accepted, refused, transactions;
} Walk;

static void complain(const Walk *w, int count, const char *what) {
    for (int step = 0; step < count; step++)
        print_error("%s; ", w->lines[step]);
    fail_test("(%s): %s", w->form->name, what);
}

static bool open_now(const Model *m) {
    return m->normal.known || m->late.known;
}

static void compare_accepted(const Walk *w, const Bench *b, Ledger *ledger, const Model *m, int count) {
    uint32_t open = (m->normal.known ? 1u : 0u) + (m->late.known ? 1u : 0u);
    for (int stream = 0; stream < STREAMS; stream++)
        open += m->streams[stream].known ? 1 : 0;
    if (assembler_held(b->assembler) != open)
        complain(w, count, "open transactions");
    if (assembler_aborts_ignored(b->assembler) != (uint64_t)m->ignored)
        complain(w, count, "aborts ignored");
    if (ledger_last_commit(ledger).at != (uint64_t)m->last_end)
        complain(w, count, "the ledger's last commit");
    if (ledger_in_flight(ledger) != (open_now(m) || m->last_end > APPLIED))
        complain(w, count, "in flight");
}

/* The sequence of `count` lines, of which all but the last are known to be accepted. */
static void run(Walk *w, const Model *m, int count, bool accepted) {
    Bench b;
    bench_init(&b);
    b.options.held_bytes = w->form->held_bytes;
    b.options.batch_changes = w->form->batch_changes;
    b.options.two_phase = m->two_phase;
    b.options.late_before = (Lsn){LATE_BEFORE};
    Ledger *ledger = ledger_new(1, (Lsn[]){{APPLIED}}, (Lsn){APPLIED});
    bench_begin(&b, ledger);
    bool ok = true;
    for (int step = 0; step < count; step++) {
        if (!ok)
            complain(w, step, "refused too early");
        ok = bench_line(&b, w->lines[step]) && bench_take(&b, true);
    }
    if (ok != accepted)
        complain(w, count, ok ? "accepted" : b.e.text);
    if (!ok && b.e.kind != ERR_PROTOCOL)
        complain(w, count, "refused, but not as a breach of the protocol");
    const char *out = writer_string(&b.out), *expected = writer_string(&w->expected);
    if (ok && strcmp(out, expected) != 0)
        complain(w, count, out);
    /* Of what was refused some pieces may be out, but no end of it. */
    if (!ok && (strncmp(out, expected, strlen(expected)) != 0 || strchr(out + strlen(expected), ']') != NULL))
        complain(w, count, out);
    if (ok)
        compare_accepted(w, &b, ledger, m, count);
    bench_end(&b);
    ledger_free(ledger);
}

static void extend(Walk *w, const Model *before, int step) {
    size_t written = w->expected.len;
    for (size_t number = 0; number < w->form->letter_count; number++) {
        Letter letter = w->form->letters[number];
        Model m = *before;
        w->expected.len = written;
        if (!line_write(&m, letter, step, w->lines[step], sizeof w->lines[step]))
            continue;
        bool accepted = model_step(&m, letter, step);
        if (!accepted)
            w->expected.len = written;
        run(w, &m, step + 1, accepted);
        if (!accepted) {
            w->refused++;
            continue;
        }
        w->accepted++;
        w->transactions += w->expected.len > written;
        if (step + 1 < w->form->length)
            extend(w, &m, step + 1);
    }
    w->expected.len = written;
}

static void every_sequence_is_judged_as_by_the_model(void **unused) {
    (void)unused;
    for (size_t form = 0; form < sizeof FORMS / sizeof FORMS[0]; form++) {
        Walk w = {.form = &FORMS[form], .expected = writer_new(1 << 16)};
        Model m = {.inside = NOBODY, .two_phase = w.form->letters == TWO_PHASE, .out = &w.expected};
        extend(&w, &m, 0);
        writer_free(&w.expected);
        printf("assembler: sequences up to %d messages, %s: %llu accepted, %llu refused; %llu transactions\n",
               w.form->length, w.form->name, (unsigned long long)w.accepted, (unsigned long long)w.refused,
               (unsigned long long)w.transactions);
        assert_true(w.accepted > 1000 && w.refused > w.accepted && w.transactions > 400);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_sequence_is_judged_as_by_the_model)};
    return cmocka_run_group_tests_name("assembler_exhaustive", tests, NULL, NULL);
}
