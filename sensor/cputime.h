/* SPDX-License-Identifier: Apache-2.0 */
/* cputime.h - the CPU time of a cgroup from its own files, for cgroups that perf cannot count.
 * v2: cpu.stat (usage_usec) in the cgroup; v1: cpuacct.usage under the same path where cpuacct is
 * mounted. Opened anew for each reading: no descriptor is kept. */
#ifndef CB_SENSOR_CPUTIME_H
#define CB_SENSOR_CPUTIME_H

#include <stdint.h>

#include "lib/cleanup.h"

struct cb_err;

struct cb_cputime {
    int counting_fd; /* the hierarchy that is counted in, borrowed */
    int cpuacct_fd;  /* the v1 cpuacct hierarchy, -1: not mounted */
};

void cb_cputime_init(struct cb_cputime *cputime, int root_fd, int counting_fd);
void cb_cputime_fini(struct cb_cputime *cputime);

/* Cumulative nanoseconds of the cgroup at @path ("/docker/<id>"). -ENOENT: no such file. */
int cb_cputime_read(const struct cb_cputime *cputime, const char *path, uint64_t *ret_ns,
                    struct cb_err *err) cb_must_check;

/* "usage_usec 123" anywhere in the text of a cpu.stat. */
int cb_cputime_parse_stat(const char *text, uint64_t *ret_ns) cb_must_check;

#endif
