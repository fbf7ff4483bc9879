/* pgoutput: one frame of the logical replication protocol (versions 1 to 4) to one Message. Pure: no socket,
 * no clock, no state; every length is checked before it is used, and a frame must be used up to its end.
 * Source: PostgreSQL documentation, "Logical Replication Message Formats", and its proto.c.
 *
 *   B final_lsn i64 time i32 xid                 b lsn end i64 time i32 xid gid\0         (begin prepare)
 *   C u8 flags lsn end i64 time                  P u8 flags lsn end i64 time i32 xid gid\0      (prepare)
 *   O lsn name\0                                 K as P                                 (commit prepared)
 *   R [xid] oid schema\0 name\0 u8 identity      r u8 flags prepare_end end i64 prepare_time
 *     u16 n { u8 flags name\0 u32 type i32 mod }    i64 time i32 xid gid\0             (rollback prepared)
 *   Y [xid] oid schema\0 name\0                  p as P                                  (stream prepare)
 *   I [xid] oid 'N' tuple                        S i32 xid u8 first                        (stream start)
 *   U [xid] oid [('K'|'O') tuple] 'N' tuple      E                                          (stream stop)
 *   D [xid] oid ('K'|'O') tuple                  c i32 xid u8 flags lsn end i64 time      (stream commit)
 *   T [xid] u32 n u8 options { oid }             A i32 xid i32 subxid [lsn i64 time]       (stream abort)
 *   M [xid] u8 flags lsn prefix\0 u32 n bytes    tuple: u16 n { 'n' | 'u' | ('t'|'b') u32 len bytes }
 * [xid]: only between stream start and stream stop; that of the subtransaction, but M has always that of the
 * whole transaction. Stream abort carries LSN and time only when the session asked for streaming 'parallel'
 * (trap A7e). Flags and options that are not documented are refused; an empty schema is pg_catalog. */
#ifndef WALFERRY_DECODER_PGOUTPUT_H
#define WALFERRY_DECODER_PGOUTPUT_H

#include "core/arena.h"
#include "core/change.h"
#include "core/error.h"

typedef enum MessageKind {
    MESSAGE_BEGIN = 'B',
    MESSAGE_COMMIT = 'C',
    MESSAGE_ORIGIN = 'O',
    MESSAGE_RELATION = 'R',
    MESSAGE_TYPE = 'Y',
    MESSAGE_INSERT = 'I',
    MESSAGE_UPDATE = 'U',
    MESSAGE_DELETE = 'D',
    MESSAGE_TRUNCATE = 'T',
    MESSAGE_LOGICAL = 'M',
    MESSAGE_STREAM_START = 'S',
    MESSAGE_STREAM_STOP = 'E',
    MESSAGE_STREAM_COMMIT = 'c',
    MESSAGE_STREAM_ABORT = 'A',
    MESSAGE_BEGIN_PREPARE = 'b',
    MESSAGE_PREPARE = 'P',
    MESSAGE_COMMIT_PREPARED = 'K',
    MESSAGE_ROLLBACK_PREPARED = 'r',
    MESSAGE_STREAM_PREPARE = 'p'
} MessageKind;

typedef struct Tuple {
    uint16_t count;
    Value *values; /* in the arena, one allocation; VALUE_NULL also for what a key tuple leaves out */
} Tuple;

typedef struct Message {
    MessageKind kind;
    uint32_t xid; /* of the transaction or, in a stream, the subtransaction that did it; 0 when not sent */
    union {
        struct {
            Lsn final;       /* BEGIN: commit LSN */
            int64_t time_us; /* since 1970 */
        } begin;
        struct {
            Lsn commit, end; /* COMMIT, STREAM COMMIT; PREPARE family: prepare or commit LSN and its end */
            int64_t time_us;
            Slice gid;       /* PREPARE family only */
            Lsn prepare_end; /* ROLLBACK PREPARED only, which has no `commit` */
        } commit;
        struct {
            Lsn lsn;
            Slice name;
        } origin;
        struct {
            uint32_t oid;
            Slice schema, name;
            char identity;
            uint16_t column_count;
            Column *columns; /* names are NUL-terminated views into the frame */
        } relation;
        struct {
            uint32_t oid;
            Slice schema, name;
        } type;
        struct {
            uint32_t oid;
            char before_kind; /* 'K', 'O', or 0: none */
            Tuple before, after;
        } row;
        struct {
            uint32_t count;
            const uint32_t *oids;
            bool cascade, restart_identity;
        } truncate;
        struct {
            bool transactional;
            Lsn lsn;
            Slice prefix, content;
        } logical;
        struct {
            bool first;
        } stream_start;
        struct {
            uint32_t subxid;
            Lsn lsn; /* none unless streaming 'parallel' */
        } stream_abort;
    };
} Message;

typedef struct DecodeOptions {
    bool in_stream;     /* between STREAM START and STREAM STOP: messages carry an xid */
    bool abort_has_lsn; /* streaming 'parallel' was asked for */
} DecodeOptions;

/* ERR_PROTOCOL with the offset in the frame when it is not exactly one message. Arrays come from `arena`;
 * texts and values are views into `frame`. */
bool pgoutput_decode(Slice frame, DecodeOptions options, Arena *arena, Message *out, Error *e);
/* Only the message's kind and, in a stream, its xid: enough to hold a frame. ERR_PROTOCOL for an unknown
 * byte. */
bool pgoutput_peek(Slice frame, bool in_stream, MessageKind *kind, uint32_t *xid, Error *e);

#endif
