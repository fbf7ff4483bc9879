/* check_database: what the database itself has: its settings and its locale. */
#ifndef WALFERRY_JOB_CHECK_DATABASE_H
#define WALFERRY_JOB_CHECK_DATABASE_H

#include "job/check_item.h"

CheckLook check_database_settings, check_database_locale;

#endif
