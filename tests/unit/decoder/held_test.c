#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/frames.h"
#include "decoder/held.h"

enum { TOP = 100, PLENTY = 1 << 20 };

typedef struct Store {
    JournalSpace space;
    HeldBudget budget;
} Store;

static void store_begin(Store *s, size_t limit_bytes) {
    s->space = (JournalSpace){.dir = "/tmp", .max_bytes = 1 << 30};
    s->budget = (HeldBudget){.limit_bytes = limit_bytes, .spill = &s->space, .release = frame_release};
}

static void store_end(Store *s) {
    assert_int_equal(s->budget.used_bytes, 0);
    assert_int_equal(s->space.used_bytes, 0);
    assert_null(s->budget.all);
    frames_all_gone();
}

static bool add_bytes(Held *h, uint32_t subxid, uint64_t arrival, Slice bytes, Error *e) {
    Slice frame;
    void *memory = frame_give(bytes, &frame);
    Arrival of = {arrival, {arrival * 8 + 1}};
    return held_add(h, subxid, of, frame, memory, bytes.len, e);
}

static void add(Held *h, uint32_t subxid, uint64_t arrival, const char *text) {
    Error e;
    assert_true(add_bytes(h, subxid, arrival, slice_text(text), &e));
}

static void cut(Held *h, uint32_t subxid) {
    Error e;
    assert_true(held_cut(h, subxid, &e));
}

/* Reads what is left, as "arrival:text arrival:text". */
static void assert_reads(Held *h, const char *expected) {
    Writer text = writer_new(PLENTY);
    HeldFrame frame;
    Error e;
    while (held_next(h, &frame, &e)) {
        writer_format(&text, "%s%d:", text.len > 0 ? " " : "", (int)frame.arrival.number);
        writer_bytes(&text, frame.bytes);
        assert_int_equal(frame.arrival.at.at, frame.arrival.number * 8 + 1);
        if (frame.memory != NULL)
            frame_release(frame.memory);
    }
    assert_int_equal(e.kind, ERR_NONE);
    assert_string_equal(writer_string(&text), expected);
    writer_free(&text);
}

/* In memory, and on disk as soon as there is one frame. */
static const size_t LIMITS[] = {PLENTY, 0};

static void frames_come_back_in_their_order(void **unused) {
    (void)unused;
    for (int which = 0; which < 2; which++) {
        Store s;
        store_begin(&s, LIMITS[which]);
        Held *h = held_new(&s.budget, TOP);
        assert_int_equal(held_xid(h), TOP);
        assert_int_equal(held_count(h), 0);
        for (int frame = 1; frame <= 20; frame++) {
            char text[20];
            snprintf(text, sizeof text, "f%d", frame);
            add(h, TOP, (uint64_t)frame * 3, text);
        }
        add(h, TOP, UINT32_MAX, "");
        assert_int_equal(held_count(h), 21);
        assert_true(s.budget.used_bytes > 0 || LIMITS[which] == 0);
        HeldFrame frame;
        Error e;
        for (int number = 1; number <= 20; number++) {
            assert_true(held_next(h, &frame, &e));
            assert_int_equal(frame.arrival.number, number * 3);
            assert_true(frame.memory == NULL || LIMITS[which] > 0);
            if (frame.memory != NULL)
                frame_release(frame.memory);
        }
        assert_true(held_next(h, &frame, &e));
        assert_int_equal(frame.bytes.len, 0);
        if (frame.memory != NULL)
            frame_release(frame.memory);
        assert_false(held_next(h, &frame, &e));
        assert_int_equal(e.kind, ERR_NONE);
        assert_false(held_next(h, &frame, &e));
        held_free(h);
        store_end(&s);
    }
}

/* Seven frames, of which the first `spilled` lie on disk. */
static Held *nested(Store *s, int spilled) {
    store_begin(s, PLENTY);
    Held *h = held_new(&s->budget, TOP);
    static const struct {
        uint32_t subxid;
        const char *text;
    } frames[] = {{TOP, "a"}, {101, "b"}, {101, "c"}, {102, "d"}, {103, "e"}, {101, "f"}, {TOP, "g"}};
    for (int frame = 0; frame < 7; frame++) {
        if (frame + 1 == spilled)
            s->budget.limit_bytes = 0;
        add(h, frames[frame].subxid, (uint64_t)frame + 1, frames[frame].text);
        s->budget.limit_bytes = PLENTY;
    }
    return h;
}

static void a_cut_takes_off_everything_from_the_first_frame(void **unused) {
    (void)unused;
    static const struct {
        uint32_t subxid;
        const char *left;
    } cuts[] = {{101, "1:a"},
                {102, "1:a 2:b 3:c"},
                {103, "1:a 2:b 3:c 4:d"},
                {999, "1:a 2:b 3:c 4:d 5:e 6:f 7:g"},
                {TOP, "1:a 2:b 3:c 4:d 5:e 6:f 7:g"}}; /* the transaction itself is dropped by held_free */
    for (int spilled = 0; spilled <= 7; spilled++)
        for (size_t number = 0; number < sizeof cuts / sizeof cuts[0]; number++) {
            Store s;
            Held *h = nested(&s, spilled);
            cut(h, cuts[number].subxid);
            assert_int_equal(held_count(h), (strlen(cuts[number].left) + 1) / 4);
            assert_reads(h, cuts[number].left);
            held_free(h);
            store_end(&s);
        }
}

static void a_cut_forgets_the_subtransactions_behind_it(void **unused) {
    (void)unused;
    for (int spilled = 0; spilled <= 7; spilled++) {
        Store s;
        Held *h = nested(&s, spilled);
        cut(h, 103);
        cut(h, 103);
        add(h, TOP, 8, "h");
        cut(h, 103); /* unknown by now: what came later stays */
        add(h, 104, 9, "i");
        add(h, 103, 10, "j");
        cut(h, 104);
        cut(h, 103);
        add(h, TOP, 11, "k");
        assert_reads(h, "1:a 2:b 3:c 4:d 8:h 11:k");
        held_free(h);
        store_end(&s);
    }
}

static void a_cut_to_nothing_leaves_an_empty_transaction(void **unused) {
    (void)unused;
    for (int which = 0; which < 2; which++) {
        Store s;
        store_begin(&s, LIMITS[which]);
        Held *h = held_new(&s.budget, TOP);
        add(h, 101, 1, "a");
        add(h, TOP, 2, "b");
        cut(h, 101);
        assert_int_equal(held_count(h), 0);
        assert_int_equal(s.budget.used_bytes, 0);
        add(h, 101, 3, "c");
        assert_reads(h, "3:c");
        held_free(h);
        store_end(&s);
    }
}

static void the_largest_spills(void **unused) {
    (void)unused;
    Store s;
    store_begin(&s, 4000);
    char large[900], small[200];
    memset(large, 'L', sizeof large);
    memset(small, 's', sizeof small);
    Error e;
    Held *little = held_new(&s.budget, 1), *big = held_new(&s.budget, 2), *none = held_new(&s.budget, 3);
    for (uint64_t frame = 0; frame < 3; frame++) {
        assert_true(add_bytes(big, 2, frame, (Slice){large, sizeof large}, &e));
        assert_true(add_bytes(little, 1, frame, (Slice){small, sizeof small}, &e));
    }
    assert_int_equal(frame_memory.gone, 0);
    size_t before = s.budget.used_bytes;
    for (uint64_t frame = 3; frame_memory.gone == 0 && frame < 50; frame++)
        assert_true(add_bytes(little, 1, frame, (Slice){small, sizeof small}, &e));
    assert_int_equal(frame_memory.gone, 3); /* those of the big one, though the other asked for room */
    assert_true(s.budget.used_bytes < before);
    assert_true(s.budget.used_bytes <= s.budget.limit_bytes);
    assert_int_equal(held_count(big), 3);
    held_free(big);
    held_free(little);
    held_free(none);
    held_free(NULL);
    store_end(&s);
}

static void one_that_is_being_read_never_spills(void **unused) {
    (void)unused;
    Store s;
    Held *read = nested(&s, 3); /* four of its frames are in memory */
    HeldFrame frame;
    Error e;
    assert_true(held_next(read, &frame, &e));
    assert_null(frame.memory);
    s.budget.limit_bytes = 0;
    Held *other = held_new(&s.budget, 7);
    add(other, 7, 1, "x");
    add(other, 7, 2, "y");
    assert_int_equal(frame_memory.gone, 3 + 2);
    assert_reads(read, "2:b 3:c 4:d 5:e 6:f 7:g");
    assert_reads(other, "1:x 2:y");
    held_free(read);
    held_free(other);
    store_end(&s);
}

static void whatever_was_read_is_the_readers(void **unused) {
    (void)unused;
    Store s;
    Held *h = nested(&s, 0);
    HeldFrame frame;
    Error e;
    for (int number = 0; number < 3; number++) {
        assert_true(held_next(h, &frame, &e));
        assert_non_null(frame.memory);
        assert_int_equal(frame.memory_bytes, 1);
        frame_release(frame.memory);
    }
    held_free(h); /* the other four */
    store_end(&s);
}

/* A disk that takes nothing: every frame is still released once. */
static void a_full_disk_is_an_error_and_loses_no_memory(void **unused) {
    (void)unused;
    Store s;
    store_begin(&s, 100 * 1000);
    s.space.max_bytes = 1000;
    Held *h = held_new(&s.budget, TOP);
    static char noise[30 * 1000];
    uint64_t seed = 5;
    for (size_t byte = 0; byte < sizeof noise; byte++) {
        seed = seed * UINT64_C(6364136223846793005) + 1;
        noise[byte] = (char)(seed >> 40);
    }
    Error e = {0};
    int frames = 0;
    while (add_bytes(h, TOP, 1, (Slice){noise, sizeof noise}, &e))
        frames++;
    assert_int_equal(e.kind, ERR_LIMIT);
    assert_int_equal(frames, 3);
    assert_int_equal(held_count(h), 4);
    held_free(h);
    store_end(&s);
    store_begin(&s, 0);
    s.space.dir = "/proc/nowhere";
    h = held_new(&s.budget, TOP);
    assert_false(add_bytes(h, TOP, 1, slice_text("a"), &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    held_free(h);
    store_end(&s);
}

#ifdef WALFERRY_FAULTS
/* The first test of all: the plan is read once, at the first hit. */
static void fault_point_of_the_spill(void **unused) {
    (void)unused;
    setenv("WALFERRY_FAULT", "assembler.spill_write:fail@2", 1);
    Store s;
    store_begin(&s, 0);
    Held *h = held_new(&s.budget, TOP);
    Error e;
    assert_true(add_bytes(h, TOP, 1, slice_text("a"), &e));
    assert_false(add_bytes(h, TOP, 2, slice_text("b"), &e));
    assert_int_equal(e.kind, ERR_RETRY);
    held_free(h);
    store_end(&s);
    unsetenv("WALFERRY_FAULT");
}
#endif

/* ---- against a plain array ---- */

enum { MODEL_FRAMES = 600, MODEL_HELD = 3, MODEL_ROUNDS = 60, LARGE_BYTES = 70 * 1000 };

typedef struct Model {
    Held *held;
    uint32_t subxids[MODEL_FRAMES];
    uint64_t arrivals[MODEL_FRAMES];
    int count;
} Model;

static uint64_t random_next(uint64_t *seed) {
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* The content of the frame that arrived then, up to LARGE_BYTES. */
static Slice content(uint64_t arrival, char *memory) {
    uint64_t seed = arrival;
    size_t length = arrival % 97 == 0 ? LARGE_BYTES - arrival % 13 : random_next(&seed) % 200;
    for (size_t byte = 0; byte < length; byte++)
        memory[byte] = (char)random_next(&seed);
    return (Slice){memory, length};
}

static void model_cut(Model *m, uint32_t subxid) {
    cut(m->held, subxid);
    for (int frame = 0; frame < m->count; frame++)
        if (m->subxids[frame] == subxid)
            m->count = frame;
}

static void model_step(Model *m, uint64_t arrival, uint64_t *seed, char *memory) {
    uint32_t subxid = TOP + (uint32_t)(random_next(seed) % 12);
    if (random_next(seed) % 12 == 0 && subxid != TOP) {
        model_cut(m, subxid);
    } else if (m->count < MODEL_FRAMES) {
        Error e;
        assert_true(add_bytes(m->held, subxid, arrival, content(arrival, memory), &e));
        m->subxids[m->count] = subxid;
        m->arrivals[m->count++] = arrival;
    }
    assert_int_equal(held_count(m->held), m->count);
}

static void model_read(Model *m, char *memory) {
    HeldFrame frame;
    Error e;
    for (int number = 0; number < m->count; number++) {
        assert_true(held_next(m->held, &frame, &e));
        assert_int_equal(frame.arrival.number, m->arrivals[number]);
        assert_int_equal(frame.arrival.at.at, frame.arrival.number * 8 + 1);
        assert_true(slice_equal(frame.bytes, content(frame.arrival.number, memory)));
        if (frame.memory != NULL)
            frame_release(frame.memory);
    }
    assert_false(held_next(m->held, &frame, &e));
    assert_int_equal(e.kind, ERR_NONE);
    held_free(m->held);
}

static void random_adds_and_cuts_behave_as_an_array(void **unused) {
    (void)unused;
    static const size_t limits[] = {0, 300, 2000, 20 * 1000, 500 * 1000};
    uint64_t spilled_bytes = 0;
    char *memory = malloc(LARGE_BYTES);
    for (uint64_t round = 0; round < MODEL_ROUNDS; round++) {
        static Model models[MODEL_HELD];
        Store s;
        uint64_t seed = round, arrival = 0;
        store_begin(&s, limits[round % 5]);
        for (int which = 0; which < MODEL_HELD; which++)
            models[which] = (Model){.held = held_new(&s.budget, TOP)};
        for (int step = 0; step < 1500; step++) {
            model_step(&models[random_next(&seed) % MODEL_HELD], ++arrival, &seed, memory);
            assert_true(s.budget.used_bytes <= s.budget.limit_bytes);
        }
        for (int which = 0; which < MODEL_HELD; which++) {
            spilled_bytes += held_disk_bytes(models[which].held);
            model_read(&models[which], memory);
        }
        store_end(&s);
    }
    free(memory);
    assert_true(spilled_bytes > 1000 * 1000); /* it did go to disk, and not only to the journal's tail */
}

/* Only where subtransactions began is known after that, and cut as before. */
static void what_is_forgotten_takes_no_room(void **unused) {
    (void)unused;
    for (int limit = 0; limit < 2; limit++) {
        Store s;
        uint64_t arrival = 0;
        store_begin(&s, LIMITS[limit]);
        Held *h = held_new(&s.budget, TOP);
        add(h, TOP, 1, "a");
        add(h, 101, 2, "b");
        assert_true(held_bytes(h) > 0);
        held_forget(h);
        assert_int_equal(held_bytes(h), 0);
        assert_int_equal(s.budget.used_bytes + s.space.used_bytes, 0);
        add(h, 102, 3, "c");
        add(h, 103, 4, "d");
        assert_int_equal(held_bytes(h), 0);
        assert_true(held_began(h, 102, &arrival));
        assert_int_equal(arrival, 3);
        cut(h, 102);
        assert_true(held_began(h, 101, &arrival));
        assert_false(held_began(h, 102, &arrival) || held_began(h, 103, &arrival));
        held_free(h);
        store_end(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#ifdef WALFERRY_FAULTS
        cmocka_unit_test(fault_point_of_the_spill),
#endif
        cmocka_unit_test(frames_come_back_in_their_order),
        cmocka_unit_test(a_cut_takes_off_everything_from_the_first_frame),
        cmocka_unit_test(a_cut_forgets_the_subtransactions_behind_it),
        cmocka_unit_test(a_cut_to_nothing_leaves_an_empty_transaction),
        cmocka_unit_test(the_largest_spills),
        cmocka_unit_test(one_that_is_being_read_never_spills),
        cmocka_unit_test(whatever_was_read_is_the_readers),
        cmocka_unit_test(a_full_disk_is_an_error_and_loses_no_memory),
        cmocka_unit_test(random_adds_and_cuts_behave_as_an_array),
        cmocka_unit_test(what_is_forgotten_takes_no_room),
    };
    return cmocka_run_group_tests_name("held", tests, NULL, NULL);
}
