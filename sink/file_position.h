/* file_position: the file sink's record, beside the file as <path>.position: which job and server, how far
 * the file is complete, what may have been confirmed. Replaced by rename after fsync, so it is the old one or
 * the new one. */
#ifndef WALFERRY_SINK_FILE_POSITION_H
#define WALFERRY_SINK_FILE_POSITION_H

#include "sink/sink.h"

typedef struct FilePosition {
    bool exists;
    bool intent; /* the slot may or may not have been made */
    Position position;
} FilePosition;

/* The file's lock, held until the descriptor is closed; ERR_CONFIG when another process has it. */
bool file_position_take(const Config *cfg, int file, Error *e);
/* Opens the file and takes it; -1 and e on failure. */
int file_position_lock(const Config *cfg, Error *e);
bool file_position_read(const Config *cfg, FilePosition *out, Error *e);
/* Durable when it returns. */
bool file_position_write(const Config *cfg, const FilePosition *position, Error *e);

#endif
