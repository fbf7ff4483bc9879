/* memory: for everything whose size the data decides. Never NULL: whoever had to handle a refusal would need memory
 * for it, so the process ends at once with a sentence, which is as safe as kill -9 (F06). */
#ifndef WALFERRY_CORE_MEMORY_H
#define WALFERRY_CORE_MEMORY_H

#include <stddef.h>

void *memory_new(size_t size); /* zeroed */
void *memory_raw(size_t size); /* not zeroed */
void *memory_grow(void *old, size_t size);

/* Called with what was refused; must not come back, nor allocate. Without one the process aborts. */
void memory_when_refused(void (*tell)(size_t size));

#endif
