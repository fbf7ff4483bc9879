/* no_memory: how the process ends that has none left: one sentence with a hint, the exit code of a limit, and the next
 * run goes on, as behind kill -9 (F06). For what core/memory refuses, for what libraries have by it, and for libraries
 * that do not look at what they were given: they die by a signal, of which the handler here tells whether memory was
 * lacking; any other death stays what it is. */
#ifndef WALFERRY_CLI_NO_MEMORY_H
#define WALFERRY_CLI_NO_MEMORY_H

/* Once, before anything else of the program. */
void no_memory_prepare(void);

#endif
