#include "core/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/limit.h"
#include "core/memory.h"

/* The records, each behind its length, are one run of bytes, cut into blocks; a record may lie over many of
 * them, so that a huge one needs no memory here. A length never does. The last block, not yet full, is the
 * tail in memory.
 *
 *   file:  block block block …        block:  BlockHeader, compressed bytes
 */
enum {
    BLOCK_BYTES = 64 * 1024,
    STORED_BYTES = LZ4_COMPRESSBOUND(BLOCK_BYTES),
    LENGTH_BYTES = sizeof(uint32_t),
    JOINED_KEPT_BYTES = 1024 * 1024, /* a larger buffer goes back after its record */
    RECORD_BYTES_MAX = INT32_MAX
};

typedef struct BlockHeader {
    uint64_t checksum; /* of everything behind it, seeded with the block's place */
    uint64_t first;
    uint32_t skip, raw_len, stored_len;
    uint32_t zero;
} BlockHeader;

enum { SCRATCH_BYTES = sizeof(BlockHeader) + STORED_BYTES };

/* What is kept in memory of a written block. */
typedef struct Block {
    uint64_t offset;
    uint64_t first; /* number of the first record that begins here or, when none does, later */
} Block;

/* A block's bytes in memory. */
typedef struct Page {
    char *at;
    uint32_t len;
    uint32_t skip; /* bytes in front that belong to an earlier record */
    uint64_t first;
} Page;

struct Journal {
    JournalSpace *space;
    int fd;
    bool broken;    /* a failed append could not be taken back */
    uint64_t end;   /* of the file */
    uint64_t count; /* records */
    Block *blocks;
    size_t block_count, block_capacity;
    Page tail;
    Page loaded;         /* a written block */
    size_t loaded_block; /* which; SIZE_MAX: none */
    char *scratch;       /* one block as it is on disk */
    size_t read_block;   /* block_count: the tail */
    uint32_t read_at;
    uint64_t read_count;
    char *joined; /* the record last read, when it lies over several blocks */
    size_t joined_capacity;
    bool last_joined; /* the record last read lies in `joined` */
};

static bool fail_io(Error *e, const Journal *j, const char *what) {
    int why = errno;
    const char *dir = j->space->dir;
    if (limit_is_meant(why))
        return limit_failed(e, "make a spill file", why);
    if (why == ENOSPC || why == EDQUOT || why == EFBIG) {
        fail(e, ERR_LIMIT, "no room left in the spill folder \"%s\": %s", dir, strerror(why));
        return fail_hint(e, "free disk space there, or set spill.dir to a folder that has more");
    }
    fail(e, ERR_LIMIT, "cannot %s the spill file in \"%s\": %s", what, dir, strerror(why));
    return fail_hint(e, "set spill.dir to a folder that can be written to");
}

/* Makes the folder with those above it. */
static bool folder_make(const char *dir) {
    char path[4096];
    size_t length = strlen(dir);
    if (length >= sizeof path) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(path, dir, length + 1);
    for (char *slash = path + 1; slash < path + length; slash++) {
        if (*slash != '/')
            continue;
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return false;
        *slash = '/';
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static int nameless_file(const char *dir) {
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    /* EISDIR and ENOENT come from kernels that do not know O_TMPFILE. */
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
        return fd;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/spill-XXXXXX", dir) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

Journal *journal_new(JournalSpace *space, Error *e) {
    Journal *j = memory_new(sizeof *j);
    j->space = space;
    j->loaded_block = SIZE_MAX;
    j->fd = folder_make(space->dir) ? nameless_file(space->dir) : -1;
    if (j->fd < 0) {
        fail_io(e, j, "make");
        free(j);
        return NULL;
    }
    return j;
}

/* Made when they are needed, and given back by journal_rest. */
static void buffer_need(char **buffer, size_t size) {
    if (*buffer == NULL)
        *buffer = memory_raw(size);
}

static void buffer_drop(char **buffer) {
    free(*buffer);
    *buffer = NULL;
}

void journal_free(Journal *j) {
    if (j == NULL)
        return;
    j->space->used_bytes -= j->end;
    close(j->fd);
    free(j->blocks);
    free(j->tail.at);
    free(j->loaded.at);
    free(j->scratch);
    free(j->joined);
    free(j);
}

static bool truncate_file(Journal *j, uint64_t end) {
    while (ftruncate(j->fd, (off_t)end) != 0)
        if (errno != EINTR)
            return false;
    return true;
}

static bool write_scratch(Journal *j, size_t count, Error *e) {
    size_t done = 0;
    while (done < count) {
        ssize_t wrote = pwrite(j->fd, j->scratch + done, count - done, (off_t)(j->end + done));
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote == 0)
            errno = ENOSPC;
        if (wrote <= 0) {
            fail_io(e, j, "write");
            truncate_file(j, j->end); /* gives half a block back; when that fails nothing is wrong */
            return false;
        }
        done += (size_t)wrote;
    }
    return true;
}

/* The checksum's seed is the block's place: a block read from elsewhere is damage, too. */
static uint64_t scratch_checksum(const Journal *j, size_t count, uint64_t offset) {
    return XXH64(j->scratch + sizeof(uint64_t), count - sizeof(uint64_t), offset);
}

static void block_note(Journal *j) {
    if (j->block_count == j->block_capacity) {
        j->block_capacity = j->block_capacity == 0 ? 64 : j->block_capacity * 2;
        j->blocks = memory_grow(j->blocks, j->block_capacity * sizeof *j->blocks);
    }
    j->blocks[j->block_count++] = (Block){j->end, j->tail.first};
}

/* Writes the tail as a block and begins a new one, in which record `first` or a later one begins. */
static bool tail_write(Journal *j, uint64_t first, Error *e) {
    buffer_need(&j->scratch, SCRATCH_BYTES);
    int stored =
        LZ4_compress_default(j->tail.at, j->scratch + sizeof(BlockHeader), (int)j->tail.len, STORED_BYTES);
    assert(stored > 0);
    BlockHeader header = {
        .first = j->tail.first, .skip = j->tail.skip, .raw_len = j->tail.len, .stored_len = (uint32_t)stored};
    size_t count = sizeof header + (size_t)stored;
    JournalSpace *space = j->space;
    if (space->used_bytes > space->max_bytes || count > space->max_bytes - space->used_bytes) {
        fail(e, ERR_LIMIT, "the spill folder \"%s\" holds %llu of at most %llu bytes", space->dir,
             (unsigned long long)space->used_bytes, (unsigned long long)space->max_bytes);
        return fail_hint(e, "raise spill.max, or set spill.dir to a folder with more room");
    }
    memcpy(j->scratch, &header, sizeof header);
    header.checksum = scratch_checksum(j, count, j->end);
    memcpy(j->scratch, &header, sizeof header);
    if (!write_scratch(j, count, e))
        return false;
    block_note(j);
    j->end += count;
    space->used_bytes += count;
    j->tail = (Page){.at = j->tail.at, .first = first};
    return true;
}

static bool fail_damaged(Error *e, const Journal *j, uint64_t offset) {
    fail(e, ERR_LIMIT, "the spill file in \"%s\" is damaged at byte %llu", j->space->dir,
         (unsigned long long)offset);
    return fail_hint(
        e, "nothing of it was used, and a new start reads it from the source again; have that disk looked "
           "at, or set spill.dir to another one");
}

static bool read_scratch(Journal *j, size_t count, uint64_t offset, Error *e) {
    size_t done = 0;
    while (done < count) {
        ssize_t got = pread(j->fd, j->scratch + done, count - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_io(e, j, "read");
        if (got == 0)
            return fail_damaged(e, j, offset);
        done += (size_t)got;
    }
    return true;
}

static bool block_load(Journal *j, size_t number, Error *e) {
    if (j->loaded_block == number)
        return true;
    const Block *block = &j->blocks[number];
    uint64_t next = number + 1 < j->block_count ? block[1].offset : j->end;
    size_t count = (size_t)(next - block->offset);
    j->loaded_block = SIZE_MAX;
    buffer_need(&j->loaded.at, BLOCK_BYTES);
    buffer_need(&j->scratch, SCRATCH_BYTES);
    if (!read_scratch(j, count, block->offset, e))
        return false;
    BlockHeader header;
    memcpy(&header, j->scratch, sizeof header);
    if (header.checksum != scratch_checksum(j, count, block->offset) || header.first != block->first ||
        header.stored_len != count - sizeof header || header.raw_len > BLOCK_BYTES ||
        header.skip > header.raw_len)
        return fail_damaged(e, j, block->offset);
    int raw =
        LZ4_decompress_safe(j->scratch + sizeof header, j->loaded.at, (int)header.stored_len, BLOCK_BYTES);
    if (raw < 0 || (uint32_t)raw != header.raw_len)
        return fail_damaged(e, j, block->offset);
    j->loaded = (Page){j->loaded.at, header.raw_len, header.skip, header.first};
    j->loaded_block = number;
    return true;
}

static uint32_t length_at(const Page *page, uint32_t at) {
    uint32_t length;
    assert(at <= page->len && page->len - at >= LENGTH_BYTES);
    memcpy(&length, page->at + at, sizeof length);
    return length;
}

/* Where record `number` begins in the page that it begins in. */
static uint32_t record_offset(const Page *page, uint64_t number) {
    uint64_t at = page->skip;
    for (uint64_t record = page->first; record < number; record++) {
        assert(at <= page->len);
        at += LENGTH_BYTES + (uint64_t)length_at(page, (uint32_t)at);
    }
    assert(at <= page->len);
    return (uint32_t)at;
}

/* The last block whose `first` is not beyond `number`: the record begins there. */
static size_t block_find(const Journal *j, uint64_t number) {
    size_t low = 0, high = j->block_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (j->blocks[middle].first <= number)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Takes off everything from where record `number` begins. */
static bool cut_at(Journal *j, uint64_t number, Error *e) {
    if (number >= j->tail.first) {
        j->tail.len = record_offset(&j->tail, number);
        return true;
    }
    size_t block = block_find(j, number);
    if (!block_load(j, block, e))
        return false;
    uint32_t kept = record_offset(&j->loaded, number);
    uint64_t end = j->blocks[block].offset;
    if (!truncate_file(j, end))
        return fail_io(e, j, "cut");
    j->space->used_bytes -= j->end - end;
    j->end = end;
    j->block_count = block;
    buffer_need(&j->tail.at, BLOCK_BYTES);
    memcpy(j->tail.at, j->loaded.at, kept);
    j->tail = (Page){j->tail.at, kept, j->loaded.skip, j->loaded.first};
    j->loaded_block = SIZE_MAX;
    return true;
}

static bool fail_broken(Error *e, const Journal *j) {
    return fail(e, ERR_LIMIT, "the spill file in \"%s\" cannot be used after an earlier error",
                j->space->dir);
}

static bool part_put(Journal *j, Slice part, Error *e) {
    for (size_t done = 0; done < part.len;) {
        if (j->tail.len == BLOCK_BYTES && !tail_write(j, j->count + 1, e))
            return false;
        size_t room = BLOCK_BYTES - j->tail.len, left = part.len - done;
        size_t piece = left < room ? left : room;
        memcpy(j->tail.at + j->tail.len, part.at + done, piece);
        if (j->tail.first > j->count) /* the block began within this record */
            j->tail.skip += (uint32_t)piece;
        j->tail.len += (uint32_t)piece;
        done += piece;
    }
    return true;
}

static bool record_put(Journal *j, Slice head, Slice rest, Error *e) {
    buffer_need(&j->tail.at, BLOCK_BYTES);
    if (BLOCK_BYTES - j->tail.len < LENGTH_BYTES && !tail_write(j, j->count, e))
        return false;
    uint32_t length = (uint32_t)(head.len + rest.len);
    memcpy(j->tail.at + j->tail.len, &length, LENGTH_BYTES);
    j->tail.len += LENGTH_BYTES;
    return part_put(j, head, e) && part_put(j, rest, e);
}

bool journal_append(Journal *j, Slice record, Error *e) {
    return journal_append_two(j, (Slice){NULL, 0}, record, e);
}

bool journal_append_two(Journal *j, Slice head, Slice rest, Error *e) {
    if (j->broken)
        return fail_broken(e, j);
    if (rest.len > RECORD_BYTES_MAX - head.len)
        return fail(e, ERR_LIMIT, "a row of %zu bytes is too large for the spill file", rest.len);
    if (record_put(j, head, rest, e)) {
        j->count++;
        return true;
    }
    Error second;
    j->broken = !cut_at(j, j->count, &second);
    return false;
}

bool journal_rest(Journal *j, Error *e) {
    if (j->broken)
        return fail_broken(e, j);
    if (j->tail.len > 0 && !tail_write(j, j->count, e))
        return false;
    j->loaded_block = SIZE_MAX;
    buffer_drop(&j->tail.at);
    buffer_drop(&j->loaded.at);
    buffer_drop(&j->scratch);
    return true;
}

uint64_t journal_count(const Journal *j) {
    return j->count;
}

bool journal_cut(Journal *j, uint64_t count, Error *e) {
    assert(count <= j->count);
    if (!journal_rewind(j, e))
        return false;
    if (count < j->count && !cut_at(j, count, e))
        return false;
    j->count = count;
    return true;
}

bool journal_rewind(Journal *j, Error *e) {
    if (j->broken)
        return fail_broken(e, j);
    j->read_block = 0;
    j->read_at = 0;
    j->read_count = 0;
    return true;
}

/* The page that is being read. */
static const Page *page_read(Journal *j, Error *e) {
    if (j->read_block == j->block_count)
        return &j->tail;
    return block_load(j, j->read_block, e) ? &j->loaded : NULL;
}

static void joined_fit(Journal *j, size_t length) {
    if (length <= j->joined_capacity && j->joined_capacity <= JOINED_KEPT_BYTES)
        return;
    free(j->joined);
    j->joined_capacity = length;
    j->joined = memory_raw(length + 1);
}

void *journal_adopt(Journal *j, size_t *size) {
    *size = j->joined_capacity + 1;
    if (!j->last_joined || j->joined_capacity <= JOINED_KEPT_BYTES)
        return NULL;
    void *memory = j->joined;
    j->joined = NULL;
    j->joined_capacity = 0;
    return memory;
}

/* Joins the record whose bytes begin at read_at and go on in the blocks behind. */
static bool record_join(Journal *j, size_t length, Error *e) {
    joined_fit(j, length);
    for (size_t done = 0; done < length;) {
        const Page *page = page_read(j, e);
        if (page == NULL)
            return false;
        if (j->read_at == page->len) {
            assert(j->read_block < j->block_count);
            j->read_block++;
            j->read_at = 0;
            continue;
        }
        size_t here = page->len - j->read_at, left = length - done;
        size_t piece = left < here ? left : here;
        memcpy(j->joined + done, page->at + j->read_at, piece);
        j->read_at += (uint32_t)piece;
        done += piece;
    }
    return true;
}

bool journal_next(Journal *j, Slice *out, Error *e) {
    error_clear(e);
    if (j->broken)
        return fail_broken(e, j);
    if (j->read_count == j->count)
        return false;
    const Page *page = page_read(j, e);
    if (page != NULL && j->read_at == page->len) {
        assert(j->read_block < j->block_count);
        j->read_block++;
        j->read_at = 0;
        page = page_read(j, e);
    }
    if (page == NULL)
        return false;
    uint32_t length = length_at(page, j->read_at);
    j->read_at += LENGTH_BYTES;
    j->last_joined = page->len - j->read_at < length;
    if (!j->last_joined) {
        *out = (Slice){page->at + j->read_at, length};
        j->read_at += length;
    } else {
        if (!record_join(j, length, e))
            return false;
        *out = (Slice){j->joined, length};
    }
    j->read_count++;
    return true;
}

uint64_t journal_disk_bytes(const Journal *j) {
    return j->end;
}
