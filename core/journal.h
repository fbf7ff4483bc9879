/* journal: records appended to a file and read back in order: where a held transaction goes that memory has no room
 * for. Blocks are compressed (lz4) and checksummed (xxh64); a damaged one is ERR_LIMIT ("spill"), never data.
 * The file has no name: it is unlinked when it is made (O_TMPFILE where the file system has it), so that a killed
 * process leaves nothing behind. Not a log: nothing in it survives the process. One thread.
 * A disk that is full is ERR_LIMIT with the folder named; other I/O errors, too. */
#ifndef WALFERRY_CORE_JOURNAL_H
#define WALFERRY_CORE_JOURNAL_H

#include "core/bytes.h"
#include "core/error.h"

typedef struct Journal Journal;

/* What all journals of a process may take together. */
typedef struct JournalSpace {
    const char *dir;    /* made (0700) when it is missing */
    uint64_t max_bytes; /* on disk, over all journals */
    uint64_t used_bytes;
} JournalSpace;

Journal *journal_new(JournalSpace *space, Error *e);
void journal_free(Journal *j); /* NULL is fine; gives the disk back */
/* Whole or, when it fails, not at all. */
bool journal_append(Journal *j, Slice record, Error *e);
bool journal_append_two(Journal *j, Slice head, Slice rest, Error *e); /* one record of two parts */
/* Nothing will be appended for a while: everything goes to the file, and no buffer is kept. */
bool journal_rest(Journal *j, Error *e);
uint64_t journal_count(const Journal *j); /* records inside */
/* Forgets every record from number `count` on (the first record is number 0), and rewinds. */
bool journal_cut(Journal *j, uint64_t count, Error *e);
/* Reading begins at the first record; *out is valid until the next call. false with e->kind ERR_NONE: no more. A read
 * that failed can only be begun anew. */
bool journal_rewind(Journal *j, Error *e);
bool journal_next(Journal *j, Slice *out, Error *e);
/* The memory in which the record last read lies, when it is worth not to copy it: the caller frees it (free), and there
 * is a byte behind the record. NULL: it is a view. */
void *journal_adopt(Journal *j, size_t *size);
uint64_t journal_disk_bytes(const Journal *j);

#endif
