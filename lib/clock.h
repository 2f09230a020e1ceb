/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - the two clocks that are allowed, in nanoseconds. BOOTTIME for every duration (it runs
 * through suspend and never steps), REALTIME only to stamp what people read. */
#ifndef CB_LIB_CLOCK_H
#define CB_LIB_CLOCK_H

#include <stdint.h>

#include "lib/cleanup.h"

#define CB_NS_PER_S UINT64_C(1000000000)
#define CB_BOOT_ID_SIZE 37 /* 36 characters and the terminating NUL */

struct cb_err;

uint64_t cb_clock_boot_ns(void);
uint64_t cb_clock_wall_ns(void);

/* The kernel's random id of this boot, from <root>/proc/sys/kernel/random/boot_id: together with
 * BOOTTIME it makes a time stamp comparable between programs of one machine. @root_fd stands for
 * "/". Errors: any errno of openat(2)/read(2); -EINVAL when the file does not hold a UUID. */
int cb_clock_boot_id(int root_fd, char ret_id[CB_BOOT_ID_SIZE], struct cb_err *err) cb_must_check;

/* "2026-11-22T14:49:23.123Z" (UTC, milliseconds) of a wall time. */
void cb_clock_format_utc(uint64_t wall_ns, char ret_text[32]);

#endif
