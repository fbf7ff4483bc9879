/* testing: cmocka, with the headers that it wants in front, and without its name for our fail(). */
#ifndef WALFERRY_TESTING_H
#define WALFERRY_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef fail
#undef fail_msg
/* Ends the test, saying why: for loops over tables, where a line number says too little. */
#define fail_test(...)                                                                                       \
    do {                                                                                                     \
        print_error(__VA_ARGS__);                                                                            \
        print_error("\n");                                                                                   \
        _fail(__FILE__, __LINE__);                                                                           \
    } while (0)

#endif
