/* check_tables: the selected tables on the source: identities, rights, publication, heartbeat. */
#ifndef WALFERRY_JOB_CHECK_TABLES_H
#define WALFERRY_JOB_CHECK_TABLES_H

#include "job/check_item.h"

CheckLook check_publication_rights, check_replica_identity, check_select_rights, check_row_security,
    check_unlogged_tables, check_heartbeat, check_ddl_trigger, check_kafka_toast;

#endif
