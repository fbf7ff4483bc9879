#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/journal.h"
#include "testing.h"

typedef struct Folder {
    char top[64], dir[96];
    JournalSpace space;
} Folder;

static int folder_set_up(void **out) {
    Folder *f = calloc(1, sizeof *f);
    strcpy(f->top, "/tmp/walferry-journal-XXXXXX");
    if (mkdtemp(f->top) == NULL)
        return -1;
    snprintf(f->dir, sizeof f->dir, "%s/state/shop", f->top);
    f->space = (JournalSpace){.dir = f->dir, .max_bytes = UINT64_C(1) << 40};
    *out = f;
    return 0;
}

static int folder_tear_down(void **folder) {
    Folder *f = *folder;
    char state[96];
    snprintf(state, sizeof state, "%s/state", f->top);
    rmdir(f->dir); /* fails, and with it the last one, when a file was left behind */
    rmdir(state);
    int result = rmdir(f->top);
    free(f);
    return result;
}

static Journal *journal_in(Folder *f) {
    Error e;
    Journal *j = journal_new(&f->space, &e);
    assert_non_null(j);
    return j;
}

/* A fixed sequence of numbers that looks random. */
static uint64_t random_next(uint64_t *seed) {
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* Record `number` of `length` bytes: its own content, part of it hard to compress. */
static void record_fill(char *at, size_t length, uint64_t number) {
    uint64_t seed = number * 977 + 1;
    for (size_t byte = 0; byte < length; byte++)
        at[byte] = (char)(byte % 512 < 200 ? random_next(&seed) : number);
}

static void a_new_journal_is_empty_and_has_no_name(void **folder) {
    Folder *f = *folder;
    Journal *j = journal_in(f);
    Slice out;
    Error e;
    assert_int_equal(journal_count(j), 0);
    assert_int_equal(journal_disk_bytes(j), 0);
    assert_true(journal_rewind(j, &e));
    assert_false(journal_next(j, &out, &e));
    assert_int_equal(e.kind, ERR_NONE);
    DIR *dir = opendir(f->dir);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        assert_int_equal(entry->d_name[0], '.');
    closedir(dir);
    struct stat what;
    assert_int_equal(stat(f->dir, &what), 0);
    assert_int_equal(what.st_mode & 0777, 0700);
    journal_free(j);
    journal_free(NULL);
}

typedef struct Model {
    uint64_t numbers[4096]; /* content of each record */
    size_t lengths[4096];
    size_t count, next; /* next: the record to be read */
    uint64_t appended;
} Model;

static size_t random_length(uint64_t *seed) {
    switch (random_next(seed) % 12) {
    case 0: return 0;
    case 1: return random_next(seed) % (300 * 1024);
    case 2: return 65528 + random_next(seed) % 16; /* around the edge of a block */
    case 3: return 1 + random_next(seed) % 8;
    default: return random_next(seed) % 3000;
    }
}

static void model_append(Model *m, Journal *j, char *buffer, uint64_t *seed) {
    Error e;
    size_t length = random_length(seed);
    record_fill(buffer, length, m->appended);
    size_t head = random_next(seed) % 3 == 0 ? length / 2 : 0;
    assert_true(journal_append_two(j, (Slice){buffer, head}, (Slice){buffer + head, length - head}, &e));
    m->numbers[m->count] = m->appended++;
    m->lengths[m->count++] = length;
}

static void model_read(Model *m, Journal *j, char *buffer) {
    Slice out;
    Error e;
    if (m->next == m->count) {
        assert_false(journal_next(j, &out, &e));
        assert_int_equal(e.kind, ERR_NONE);
        return;
    }
    assert_true(journal_next(j, &out, &e));
    assert_int_equal(out.len, m->lengths[m->next]);
    record_fill(buffer, out.len, m->numbers[m->next++]);
    assert_int_equal(memcmp(out.at, buffer, out.len), 0);
}

static void model_step(Model *m, Journal *j, char *buffer, uint64_t *seed) {
    Error e;
    uint64_t choice = random_next(seed) % 100;
    if (choice < 60 && m->count < 4096) {
        model_append(m, j, buffer, seed);
    } else if (choice < 92) {
        model_read(m, j, buffer);
    } else if (choice == 92) {
        assert_true(journal_rest(j, &e));
    } else if (choice < 95) {
        assert_true(journal_rewind(j, &e));
        m->next = 0;
    } else {
        size_t back = random_next(seed) % (choice == 99 ? m->count + 1 : 6);
        m->count = back < m->count ? m->count - back : 0;
        assert_true(journal_cut(j, m->count, &e));
        m->next = 0;
    }
    assert_int_equal(journal_count(j), m->count);
}

static void it_does_what_an_array_does(void **folder) {
    Folder *f = *folder;
    char *buffer = malloc(300 * 1024);
    Model *m = malloc(sizeof *m);
    for (uint64_t run = 1; run <= 20; run++) {
        uint64_t seed = run;
        Journal *j = journal_in(f);
        Error e;
        memset(m, 0, sizeof *m);
        for (int step = 0; step < 600; step++) {
            model_step(m, j, buffer, &seed);
            assert_int_equal(f->space.used_bytes, journal_disk_bytes(j));
        }
        assert_true(journal_rewind(j, &e));
        for (m->next = 0; m->next < m->count;)
            model_read(m, j, buffer);
        model_read(m, j, buffer);
        journal_free(j);
        assert_int_equal(f->space.used_bytes, 0);
    }
    free(m);
    free(buffer);
}

/* Every cut of a journal whose records lie over the edges of blocks in many ways. */
static void every_place_can_be_cut_at(void **folder) {
    Folder *f = *folder;
    enum { RECORDS = 120 };
    char *buffer = calloc(1, 200 * 1024);
    for (size_t kept = 0; kept <= RECORDS; kept++) {
        Journal *j = journal_in(f);
        Slice out;
        Error e;
        for (size_t record = 0; record < RECORDS; record++) {
            memset(buffer, (int)record, 200 * 1024);
            size_t length = record % 17 == 0 ? 150000 : record % 5 == 0 ? 65532 : record * 37;
            assert_true(journal_append(j, (Slice){buffer, length}, &e));
        }
        assert_true(journal_cut(j, kept, &e));
        assert_true(journal_append(j, slice_text("new"), &e));
        for (size_t record = 0; record < kept; record++) {
            size_t length = record % 17 == 0 ? 150000 : record % 5 == 0 ? 65532 : record * 37;
            assert_true(journal_next(j, &out, &e));
            assert_int_equal(out.len, length);
            assert_true(length == 0 ||
                        ((unsigned char)out.at[0] == record && out.at[length - 1] == out.at[0]));
        }
        assert_true(journal_next(j, &out, &e));
        assert_true(slice_is(out, "new"));
        assert_false(journal_next(j, &out, &e));
        assert_int_equal(e.kind, ERR_NONE);
        journal_free(j);
    }
    free(buffer);
}

static void cutting_gives_the_disk_back(void **folder) {
    Folder *f = *folder;
    Journal *j = journal_in(f);
    Error e;
    char *buffer = malloc(100000);
    for (uint64_t record = 0; record < 50; record++) {
        record_fill(buffer, 100000, record);
        assert_true(journal_append(j, (Slice){buffer, 100000}, &e));
    }
    uint64_t full = journal_disk_bytes(j);
    assert_true(full > 1000000);
    assert_true(full < 5000000); /* it compresses */
    assert_true(journal_cut(j, 10, &e));
    assert_in_range(journal_disk_bytes(j), 1, full / 4);
    assert_int_equal(f->space.used_bytes, journal_disk_bytes(j));
    assert_true(journal_cut(j, 0, &e));
    assert_int_equal(journal_disk_bytes(j), 0);
    journal_free(j);
    free(buffer);
}

static void all_journals_share_one_limit(void **folder) {
    Folder *f = *folder;
    f->space.max_bytes = 1000000;
    Journal *first = journal_in(f), *second = journal_in(f);
    Error e;
    char *buffer = malloc(60000);
    uint64_t appended = 0;
    while (appended < 1000) {
        record_fill(buffer, 60000, appended);
        if (!journal_append(appended % 2 == 0 ? first : second, (Slice){buffer, 60000}, &e))
            break;
        appended++;
    }
    assert_in_range(appended, 20, 100);
    assert_int_equal(e.kind, ERR_LIMIT);
    assert_non_null(strstr(e.text, f->dir));
    assert_non_null(strstr(e.hint, "spill.max"));
    assert_in_range(f->space.used_bytes, 900000, 1000000);
    assert_int_equal(journal_count(first) + journal_count(second), appended); /* nothing in part */
    journal_free(first);
    assert_in_range(f->space.used_bytes, 1, 600000);
    assert_true(journal_append(second, (Slice){buffer, 60000}, &e));
    journal_free(second);
    assert_int_equal(f->space.used_bytes, 0);
    free(buffer);
}

/* The nameless file, found by where it would be. */
static int journal_file(const Folder *f) {
    for (int fd = 3; fd < 1000; fd++) {
        char link[64], path[200];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0 && strncmp(path, f->dir, strlen(f->dir)) == 0)
            return fd;
    }
    fail_test("the journal's file is not open");
    return -1;
}

static bool read_all(Journal *j, Error *e) {
    Slice out;
    if (!journal_rewind(j, e))
        return false;
    while (journal_next(j, &out, e))
        continue;
    return e->kind == ERR_NONE;
}

static void any_flipped_byte_is_found(void **folder) {
    Folder *f = *folder;
    Journal *j = journal_in(f);
    Error e;
    char *buffer = malloc(70000), byte;
    record_fill(buffer, 70000, 1);
    memset(buffer + 2000, 0, 68000);
    for (int record = 0; record < 4; record++)
        assert_true(journal_append(j, (Slice){buffer, 70000}, &e));
    int fd = journal_file(f);
    uint64_t size = journal_disk_bytes(j);
    for (uint64_t at = 0; at < size; at += at < 200 ? 1 : 13) {
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        assert_false(read_all(j, &e));
        assert_int_equal(e.kind, ERR_LIMIT);
        assert_non_null(strstr(e.text, f->dir));
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        assert_true(read_all(j, &e));
    }
    journal_free(j);
    free(buffer);
}

static void a_shortened_file_is_found(void **folder) {
    Folder *f = *folder;
    Journal *j = journal_in(f);
    Error e;
    char *buffer = malloc(70000);
    record_fill(buffer, 70000, 1);
    for (int record = 0; record < 4; record++)
        assert_true(journal_append(j, (Slice){buffer, 70000}, &e));
    assert_int_equal(ftruncate(journal_file(f), (off_t)journal_disk_bytes(j) - 1), 0);
    assert_false(read_all(j, &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    journal_free(j);
    free(buffer);
}

static void a_folder_that_cannot_be_made_is_named(void **folder) {
    (void)folder;
    JournalSpace space = {.dir = "/proc/walferry/spill", .max_bytes = 1000};
    Error e;
    assert_null(journal_new(&space, &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    assert_non_null(strstr(e.text, "\"/proc/walferry/spill\""));
    assert_non_null(strstr(e.hint, "spill.dir"));
}

/* Only what is worth it is given away, and the record after it is read as ever. */
static void a_large_record_can_be_adopted(void **folder) {
    enum { LARGE = 3 << 20, SMALL = 100 * 1024 };
    static const size_t LENGTHS[] = {10, LARGE, SMALL, LARGE + 7, 20};
    Journal *j = journal_in(*folder);
    char *buffer = malloc(LARGE + 7);
    Slice out;
    Error e;
    size_t size;
    for (size_t record = 0; record < 5; record++) {
        record_fill(buffer, LENGTHS[record], record);
        assert_true(journal_append(j, (Slice){buffer, LENGTHS[record]}, &e));
    }
    assert_true(journal_rest(j, &e) && journal_rewind(j, &e));
    for (size_t record = 0; record < 5; record++) {
        assert_true(journal_next(j, &out, &e));
        char *memory = journal_adopt(j, &size);
        assert_int_equal(memory != NULL, LENGTHS[record] >= LARGE);
        record_fill(buffer, LENGTHS[record], record);
        assert_int_equal(out.len, LENGTHS[record]);
        assert_int_equal(memcmp(out.at, buffer, out.len), 0);
        assert_true(memory == NULL || (memory == out.at && size > out.len));
        if (memory != NULL)
            memory[out.len] = '\0';
        free(memory);
    }
    journal_free(j);
    free(buffer);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_set_up, folder_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(a_new_journal_is_empty_and_has_no_name),
        IN_A_FOLDER(it_does_what_an_array_does),
        IN_A_FOLDER(every_place_can_be_cut_at),
        IN_A_FOLDER(cutting_gives_the_disk_back),
        IN_A_FOLDER(all_journals_share_one_limit),
        IN_A_FOLDER(any_flipped_byte_is_found),
        IN_A_FOLDER(a_shortened_file_is_found),
        IN_A_FOLDER(a_large_record_can_be_adopted),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_named),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
