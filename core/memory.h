/* memory: every allocation of ours. Never NULL: whoever had to handle a refusal would need memory for it, so the
 * process ends at once with a sentence, which is as safe as kill -9 (F06). */
#ifndef WALFERRY_CORE_MEMORY_H
#define WALFERRY_CORE_MEMORY_H

#include <stddef.h>

void *memory_new(size_t size); /* zeroed */
void *memory_raw(size_t size); /* not zeroed */
void *memory_grow(void *old, size_t size);
void *memory_array(size_t count, size_t size); /* zeroed */
char *memory_text(const char *text);           /* a copy */
char *memory_text_part(const char *text, size_t length);

/* For what a library had no memory for and says by NULL; size is 0 where it says no more. */
_Noreturn void memory_refused(size_t size);

/* What was freed goes back to the system, where the C library can do that: behind work that needed much for a moment. */
void memory_give_back(void);

/* Before the first thread. Records are made by one thread and freed by another: the C library's fast bins gain nothing by
 * that, and each large block that is freed walks through all of them. */
void memory_tune(void);

/* Called with what was refused (0: nobody knows how much); must not come back, nor allocate. Without one the process aborts. */
void memory_when_refused(void (*tell)(size_t size));

#endif
