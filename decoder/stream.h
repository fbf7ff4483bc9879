/* stream: the START_REPLICATION session: reads CopyData, tells data from keepalives, writes standby status. It keeps
 * the source's timer alive by unsolicited status (L15): the caller calls stream_status at least every
 * stream_status_every_ms, also while nothing can be taken in. One thread. */
#ifndef WALFERRY_DECODER_STREAM_H
#define WALFERRY_DECODER_STREAM_H

#include "core/pg.h"

typedef struct StreamOptions {
    const char *slot;
    const char *publications; /* '"a","b"', as publication_names writes it */
    Lsn start;                /* smallest applied position over the sinks; never 0/0 (trap A7a) */
    bool binary;
    bool whole;     /* no transaction is sent before its commit */
    bool two_phase; /* prepared transactions at their PREPARE (15 and newer): the slot stays so for ever */
    bool messages;  /* logical messages are wanted (servers 14 and newer) */
    int64_t sender_timeout_ms; /* the server's wal_sender_timeout, 0: none */
} StreamOptions;

typedef enum FrameKind { FRAME_NONE, FRAME_DATA, FRAME_KEEPALIVE, FRAME_END } FrameKind;
typedef struct Frame {
    FrameKind kind;
    Slice bytes;  /* DATA: the pgoutput message */
    void *memory; /* DATA: goes to the caller, freed by PQfreemem */
    size_t memory_bytes;
    Lsn at; /* DATA: of the record that it tells of */
    Lsn wal_end;
    int64_t read_us; /* DATA: monotonic clock: when its last bytes, and those of its neighbours, were read */
    bool reply_wanted; /* KEEPALIVE */
} Frame;

typedef struct Stream Stream;

/* Starts on an open walsender session, which it takes over (also on failure). 55006: ERR_RETRY with the PID's sentence. */
Stream *stream_open(Pg *walsender, const StreamOptions *options, Error *e);
/* FRAME_NONE when nothing has arrived within wait_ms (0: does not wait). FRAME_END: the server ended the stream.
 * ERR_RETRY when the server leaves our questions unanswered for twice its own timeout (F92). */
bool stream_read(Stream *s, int wait_ms, Frame *out, Error *e);
/* write = received, flush = apply = confirmed. Asks for an answer, too, when nothing has come since the last one. */
bool stream_status(Stream *s, Lsn received, Lsn confirmed, bool reply_wanted, Error *e);
int stream_status_every_ms(const Stream *s);
bool stream_aborts_have_lsn(const Stream *s); /* streaming 'parallel' is on */
int stream_socket(const Stream *s);
/* Last status, CopyDone, and up to wait_ms for the server to have taken it; then as stream_close. */
void stream_finish(Stream *s, Lsn received, Lsn confirmed, int wait_ms);
/* At once, without a word: a server that is shutting down waits for nobody then (trap A13). NULL is fine. */
void stream_close(Stream *s);

#endif
