/* check_source: the source server: versions, settings, roles, what is free, what stands in the way. */
#ifndef WALFERRY_JOB_CHECK_SOURCE_H
#define WALFERRY_JOB_CHECK_SOURCE_H

#include "job/check_item.h"

CheckLook check_source_connection, check_source_version, check_source_primary, check_wal_level,
    check_plugin_libraries, check_replication_role, check_replication_slots, check_wal_senders,
    check_synchronous_standby, check_large_objects, check_long_transactions, check_prepared_transactions,
    check_two_phase, check_slot_name, check_slot, check_slot_timeout, check_pg_dump;

#endif
