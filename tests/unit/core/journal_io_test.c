/* The journal against a kernel that misbehaves: its system calls are replaced while its source is compiled
 * here. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "testing.h"

static struct {
    bool no_tmpfile;                /* the file system does not know O_TMPFILE */
    bool short_calls;               /* reads and writes do a little at a time, and are interrupted between */
    int interrupted;                /* calls until the next EINTR */
    long write_room;                /* bytes until writing fails with write_errno; -1: never */
    int write_errno;                /* 0: pwrite returns 0 */
    int read_errno, truncate_errno; /* 0: fine */
} kernel;

static bool interrupt(void) {
    if (!kernel.short_calls || kernel.interrupted++ % 3 != 0)
        return false;
    errno = EINTR;
    return true;
}

static int test_open(const char *path, int flags, mode_t mode) {
    if (kernel.no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return open(path, flags, mode);
}

static ssize_t test_pwrite(int fd, const void *bytes, size_t count, off_t at) {
    if (interrupt())
        return -1;
    if (kernel.short_calls && count > 1000)
        count = 1000;
    if (kernel.write_room == 0) {
        errno = kernel.write_errno;
        return kernel.write_errno == 0 ? 0 : -1;
    }
    if (kernel.write_room > 0 && count > (size_t)kernel.write_room)
        count = (size_t)kernel.write_room;
    ssize_t wrote = pwrite(fd, bytes, count, at);
    if (kernel.write_room > 0)
        kernel.write_room -= wrote;
    return wrote;
}

static ssize_t test_pread(int fd, void *bytes, size_t count, off_t at) {
    if (interrupt())
        return -1;
    if (kernel.read_errno != 0) {
        errno = kernel.read_errno;
        return -1;
    }
    return pread(fd, bytes, kernel.short_calls && count > 1000 ? 1000 : count, at);
}

static int test_ftruncate(int fd, off_t length) {
    if (interrupt())
        return -1;
    if (kernel.truncate_errno != 0) {
        errno = kernel.truncate_errno;
        return -1;
    }
    return ftruncate(fd, length);
}

#define open      test_open
#define pwrite    test_pwrite
#define pread     test_pread
#define ftruncate test_ftruncate
#include "core/journal.c"
#undef open
#undef pwrite
#undef pread
#undef ftruncate

enum { RECORD_BYTES = 50000, RECORDS = 20 };

static char dir[] = "/tmp/walferry-journal-io-XXXXXX";
static JournalSpace space;
static char record[RECORD_BYTES];

static Slice record_of(uint64_t number) {
    uint64_t seed = number + 1;
    for (size_t at = 0; at < RECORD_BYTES; at++) {
        seed = seed * UINT64_C(6364136223846793005) + 1;
        record[at] = (char)(seed >> 56);
    }
    return (Slice){record, RECORD_BYTES};
}

static int set_up(void **out) {
    (void)out;
    memset(&kernel, 0, sizeof kernel);
    kernel.write_room = -1;
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    space = (JournalSpace){.dir = dir, .max_bytes = UINT64_C(1) << 30};
    return mkdtemp(dir) == NULL;
}

static int tear_down(void **out) {
    (void)out;
    return rmdir(dir); /* refused when a file was left behind */
}

static Journal *filled(uint64_t records) {
    Error e;
    Journal *j = journal_new(&space, &e);
    assert_non_null(j);
    for (uint64_t number = 0; number < records; number++)
        assert_true(journal_append(j, record_of(number), &e));
    return j;
}

static void assert_holds(Journal *j, uint64_t records) {
    Slice out;
    Error e;
    assert_int_equal(journal_count(j), records);
    assert_true(journal_rewind(j, &e));
    for (uint64_t number = 0; number < records; number++) {
        assert_true(journal_next(j, &out, &e));
        assert_true(slice_equal(out, record_of(number)));
    }
    assert_false(journal_next(j, &out, &e));
    assert_int_equal(e.kind, ERR_NONE);
}

static void short_and_interrupted_calls_are_gone_on_with(void **unused) {
    (void)unused;
    kernel.short_calls = true;
    Error e;
    Journal *j = filled(RECORDS);
    assert_holds(j, RECORDS);
    assert_true(journal_cut(j, 7, &e));
    assert_holds(j, 7);
    journal_free(j);
}

static void without_nameless_files_the_name_is_taken_off_at_once(void **unused) {
    (void)unused;
    kernel.no_tmpfile = true;
    Journal *j = filled(RECORDS);
    assert_int_equal(rmdir(dir), 0); /* empty while the journal is open */
    assert_holds(j, RECORDS);
    journal_free(j);
    assert_int_equal(mkdir(dir, 0700), 0);
}

static void a_full_disk_at_any_byte_names_the_folder_and_keeps_what_was_there(void **unused) {
    (void)unused;
    for (long room = 0; room < 200000; room += 7919) {
        Error e;
        Journal *j = filled(0);
        kernel.write_room = room;
        kernel.write_errno = room % 2 == 0 ? ENOSPC : 0;
        uint64_t kept = 0;
        while (kept < RECORDS && journal_append(j, record_of(kept), &e))
            kept++;
        assert_in_range(kept, 1, RECORDS - 1);
        assert_int_equal(e.kind, ERR_LIMIT);
        assert_non_null(strstr(e.text, dir));
        assert_non_null(strstr(e.text, "no room"));
        assert_non_null(strstr(e.hint, "spill.dir"));
        assert_int_equal(space.used_bytes, journal_disk_bytes(j));
        struct stat file;
        assert_int_equal(fstat(j->fd, &file), 0);
        assert_int_equal(file.st_size, journal_disk_bytes(j)); /* no half-written block stays */
        assert_holds(j, kept);
        kernel.write_room = -1; /* somebody freed some */
        for (; kept < RECORDS; kept++)
            assert_true(journal_append(j, record_of(kept), &e));
        assert_holds(j, RECORDS);
        journal_free(j);
    }
}

static void a_huge_record_that_does_not_fit_leaves_no_part_behind(void **unused) {
    (void)unused;
    Error e;
    Journal *j = filled(3);
    uint64_t before = journal_disk_bytes(j);
    char *huge = malloc(10 << 20);
    uint64_t seed = 1;
    for (size_t at = 0; at < 10 << 20; at++) {
        seed = seed * UINT64_C(6364136223846793005) + 1;
        huge[at] = (char)(seed >> 56);
    }
    space.max_bytes = 5 << 20;
    assert_false(journal_append(j, (Slice){huge, 10 << 20}, &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    assert_int_equal(journal_disk_bytes(j), before);
    assert_int_equal(space.used_bytes, before);
    assert_holds(j, 3);
    space.max_bytes = 20 << 20;
    Slice out;
    assert_true(journal_append(j, (Slice){huge, 10 << 20}, &e));
    assert_true(journal_append(j, slice_text("small"), &e));
    assert_true(journal_rewind(j, &e));
    for (uint64_t number = 0; number < 3; number++)
        assert_true(journal_next(j, &out, &e));
    assert_true(journal_next(j, &out, &e));
    assert_true(slice_equal(out, (Slice){huge, 10 << 20}));
    assert_true(journal_next(j, &out, &e));
    assert_true(slice_is(out, "small"));
    journal_free(j);
    free(huge);
}

static void read_and_cut_errors_are_told(void **unused) {
    (void)unused;
    Error e;
    Slice out;
    Journal *j = filled(RECORDS);
    kernel.read_errno = EIO;
    assert_false(journal_next(j, &out, &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    assert_non_null(strstr(e.text, dir));
    assert_false(journal_cut(j, 2, &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    kernel.read_errno = 0;
    kernel.truncate_errno = EIO;
    assert_false(journal_cut(j, 2, &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    kernel.truncate_errno = 0;
    assert_holds(j, RECORDS);
    journal_free(j);
}

/* Two blocks of one record: whole, of one size, and belonging to the same records. */
static void blocks_that_changed_places_are_found(void **unused) {
    (void)unused;
    Error e;
    Slice out;
    Journal *j = filled(0);
    char *huge = malloc(5 * BLOCK_BYTES), *first = malloc(BLOCK_BYTES), *second = malloc(BLOCK_BYTES);
    for (size_t at = 0; at < 5 * BLOCK_BYTES; at++)
        huge[at] = (char)(at / BLOCK_BYTES);
    assert_true(journal_append(j, (Slice){huge, 5 * BLOCK_BYTES}, &e));
    const Block *blocks = j->blocks;
    size_t size = blocks[2].offset - blocks[1].offset;
    assert_int_equal(blocks[3].offset - blocks[2].offset, size);
    assert_int_equal(blocks[1].first, blocks[2].first);
    assert_int_equal(pread(j->fd, first, size, (off_t)blocks[1].offset), size);
    assert_int_equal(pread(j->fd, second, size, (off_t)blocks[2].offset), size);
    assert_int_equal(pwrite(j->fd, second, size, (off_t)blocks[1].offset), size);
    assert_int_equal(pwrite(j->fd, first, size, (off_t)blocks[2].offset), size);
    assert_false(journal_next(j, &out, &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    assert_non_null(strstr(e.text, "damaged"));
    journal_free(j);
    free(huge);
    free(first);
    free(second);
}

static void what_cannot_be_taken_back_is_never_used_again(void **unused) {
    (void)unused;
    Error e;
    Slice out;
    Journal *j = filled(RECORDS);
    char *huge = calloc(1, 1 << 20);
    kernel.write_room = 60000; /* some blocks of the record go out */
    kernel.write_errno = EIO;
    kernel.truncate_errno = EIO;
    space.max_bytes = UINT64_MAX;
    while (journal_append(j, (Slice){huge, 1 << 20}, &e))
        continue;
    assert_int_equal(e.kind, ERR_LIMIT);
    kernel.write_room = -1;
    kernel.truncate_errno = 0;
    uint64_t count = journal_count(j);
    assert_false(journal_append(j, slice_text("x"), &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    assert_false(journal_rewind(j, &e));
    assert_false(journal_next(j, &out, &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    assert_int_equal(journal_count(j), count);
    journal_free(j);
    assert_int_equal(space.used_bytes, 0);
    free(huge);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(short_and_interrupted_calls_are_gone_on_with),
        IN_A_FOLDER(without_nameless_files_the_name_is_taken_off_at_once),
        IN_A_FOLDER(a_full_disk_at_any_byte_names_the_folder_and_keeps_what_was_there),
        IN_A_FOLDER(a_huge_record_that_does_not_fit_leaves_no_part_behind),
        IN_A_FOLDER(read_and_cut_errors_are_told),
        IN_A_FOLDER(blocks_that_changed_places_are_found),
        IN_A_FOLDER(what_cannot_be_taken_back_is_never_used_again),
    };
    return cmocka_run_group_tests_name("journal_io", tests, NULL, NULL);
}
