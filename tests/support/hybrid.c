/* SPDX-License-Identifier: Apache-2.0 */
/* hybrid.c - see hybrid.h. */
#include "tests/support/hybrid.h"

#include <stdint.h>

#define CPU_CORE 4
#define CPU_ATOM 8
#define FIRST_ATOM_CPU 16

bool hybrid_refuses(const struct perf_event_attr *attr, long cpu)
{
    bool named = attr->type == PERF_TYPE_HARDWARE;
    uint32_t pmu = named ? (uint32_t)(attr->config >> 32) : attr->type;

    return (pmu == CPU_CORE && cpu >= FIRST_ATOM_CPU) || (pmu == CPU_ATOM && cpu < FIRST_ATOM_CPU);
}
