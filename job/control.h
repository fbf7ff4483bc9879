/* control: the job's unix socket (cfg->control_socket, mode 0600): one JSON object a line in, one out.
 *   {"command":"status"}                                   -> the status object
 *   {"command":"stop"}                                     -> {"ok":true}; the run settles and ends
 *   {"command":"set","key":"log.level","value":"debug"}    -> {"ok":true} or {"ok":false,"error":"…"}
 *   {"command":"snapshot","tables":["public.t"]}           -> {"ok":true} or {"ok":false,"error":"…"}
 *   {"command":"snapshot"}                                 -> {"ok":true,"noted":true}: what was asked for survives a kill
 *   {"command":"who"}                                      -> {"ok":true,"instance":"host, pid …"}
 * The server has a thread of its own and serves one client at a time, each for at most 2 s. A left-over
 * socket file of a killed run is recognised (nobody answers) and replaced. The socket's folder is made with
 * mode 0700 when it is missing; a folder that belongs to somebody else, or that others may write, is refused
 * on both sides. */
#ifndef WALFERRY_JOB_CONTROL_H
#define WALFERRY_JOB_CONTROL_H

#include <jansson.h>

#include "job/job.h"

typedef struct Control Control;

/* ERR_CONFIG that names the other instance when one answers on the socket. */
Control *control_start(Job *job, Error *e);
void control_end(Control *control); /* NULL is fine; removes the socket */

/* The client's side: NULL with e->kind ERR_NONE when no run of this job listens here. `request` stays the
 * caller's. */
json_t *control_ask(const Config *cfg, const json_t *request, Error *e);

#endif
