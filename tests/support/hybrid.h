/* SPDX-License-Identifier: Apache-2.0 */
/* hybrid.h - the CPU of tests/fixtures/hybrid: which kind of core counts what. */
#ifndef CB_TESTS_SUPPORT_HYBRID_H
#define CB_TESTS_SUPPORT_HYBRID_H

#include <linux/perf_event.h>
#include <stdbool.h>

/* Would the kernel refuse it? Hardware events name their PMU, cpu_core (4, CPUs 0 to 15) or
 * cpu_atom (8, CPUs from 16 on), in the type or in the upper half of the config. */
bool hybrid_refuses(const struct perf_event_attr *attr, long cpu);

#endif
