/* check_target: the target: connection, rights, existing tables, extensions; and both sides compared. */
#ifndef WALFERRY_JOB_CHECK_TARGET_H
#define WALFERRY_JOB_CHECK_TARGET_H

#include "job/check_item.h"

CheckLook check_target_connection, check_target_version, check_same_database, check_encryption,
    check_database_encoding, check_target_rights, check_existing_tables, check_extensions, check_replica_role;

#endif
