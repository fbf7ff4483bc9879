/* check_objects: what the definitions need at the target: locks, roles, rights, triggers that keep still. */
#ifndef WALFERRY_JOB_CHECK_OBJECTS_H
#define WALFERRY_JOB_CHECK_OBJECTS_H

#include "job/check_item.h"

CheckLook check_lock_places, check_roles, check_event_triggers, check_always_triggers,
    check_target_row_security, check_extension_rows;

#endif
