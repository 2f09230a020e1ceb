/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.h - strict text to number. Pure functions: no locale, no allocation, no errno.
 *
 * Errors   -EINVAL  not the described form (empty, sign, blank, trailing bytes)
 *          -ERANGE  right form, but does not fit the result
 * Results are written on success only.
 */
#ifndef CB_LIB_PARSE_H
#define CB_LIB_PARSE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

/* Decimal digits; one trailing newline is allowed, as sysfs and procfs write it. */
int cb_parse_u64(const char *text, uint64_t *ret_value) cb_must_check;

/* Decimal number with optional sign, fraction and exponent ("12", "-0.5",
 * "2.3283064365386963e-10"), always with '.', whatever the locale; finite; one trailing newline is
 * allowed. */
int cb_parse_double(const char *text, double *ret_value) cb_must_check;

/* A duration with its unit: "250ms", "1s", "1.5s", "2m", "1h", "10us"; a bare "0" needs none. */
int cb_parse_duration(const char *text, uint64_t *ret_ns) cb_must_check;

/*
 * The kernel's CPU list form ("0-3,8,10-11", "" or "\n" for none), one flag byte per CPU.
 * @set has @size bytes, all overwritten; *ret_count is the number of CPUs named.
 *          -ERANGE  a CPU number >= @size
 */
int cb_parse_cpulist(const char *text, uint8_t *set, size_t size, size_t *ret_count) cb_must_check;

#endif
