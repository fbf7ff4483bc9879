/* hash: uthash, whose tables have their memory from core/memory. Everybody includes this and never uthash.h: what it
 * does by itself without memory is exit(-1), without a word. */
#ifndef WALFERRY_CORE_HASH_H
#define WALFERRY_CORE_HASH_H

#include "core/memory.h"

#define uthash_malloc(size) memory_raw(size)
#define uthash_fatal(why)   memory_refused(0)
#include <uthash.h>

#endif
