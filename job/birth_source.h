/* birth_source: what a birth makes on the source, whatever the destination is: heartbeat, publication, replica identities,
 * trigger, and the slot that lasts. */
#ifndef WALFERRY_JOB_BIRTH_SOURCE_H
#define WALFERRY_JOB_BIRTH_SOURCE_H

#include "job/exported.h"

/* Without a stream nothing but the system's number, and that only where the account may ask for it. */
bool birth_source_identify(Walk *walk, ServerIdentity *out, Error *e);
/* A slot of our name that only an intent knows (`intended`) is dropped; one that nothing knows is somebody's: ERR_LOST. */
bool birth_source_slot_clear(Walk *walk, bool intended, Error *e);
/* Heartbeat, publication, triggers. */
bool birth_source_prepare(Walk *walk, Error *e);
/* Published with all tables of the selection, whose replica identities are set where the job is to. */
bool birth_source_publish(Walk *walk, Error *e);
/* All of that, then the job's slot. */
bool birth_source_slot(Walk *walk, Exported *out, Error *e);

#endif
