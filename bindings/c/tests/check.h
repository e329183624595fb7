/* Counting checks, for checks.c and checks.cpp. */
#ifndef AESA_TESTS_CHECK_H
#define AESA_TESTS_CHECK_H

#include <aesa.h>
#include <stdio.h>

static int num_passed, num_failed;

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(int passed, const char *what, int line) {
    if (passed) {
        num_passed++;
    } else {
        num_failed++;
        printf("FAILED: line %d: %s (last error: %s)\n", line, what, aesa_last_error());
    }
}

#endif
