/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_cpu_time.c - see hwpc_cpu_time.h. */
#include "formula/hwpc_cpu_time.h"

#define DISTRUST_TICKS 10 /* after a CPU time longer than its tick */

void cb_hwpc_cpu_time_begin(struct cb_hwpc_cpu_time *cpu_time, uint64_t seq, double tick_ns)
{
    cpu_time->seq = seq;
    cpu_time->tick_ns = tick_ns;
    cpu_time->unknown = cpu_time->differs = false;
    cpu_time->last_ns = -1;
}

/* No cgroup is on a CPU for longer than the tick: what says so is a sum of which this is the first
 * reading, or no CPU time. */
void cb_hwpc_cpu_time_judge(struct cb_hwpc_cpu_time *cpu_time, double running_ns, bool first)
{
    if (!(running_ns > 1.05 * cpu_time->tick_ns))
        return;
    if (first)
        cpu_time->unknown = true;
    else
        cpu_time->too_long = cpu_time->seq;
}

void cb_hwpc_cpu_time_target(struct cb_hwpc_cpu_time *cpu_time, double cpu_ns)
{
    if (cpu_ns < 0)
        return;
    cpu_time->differs |= cpu_time->last_ns >= 0 && cpu_ns != cpu_time->last_ns;
    cpu_time->last_ns = cpu_ns;
}

bool cb_hwpc_cpu_time_end(struct cb_hwpc_cpu_time *cpu_time)
{
    bool trusted = !cpu_time->unknown && (cpu_time->too_long == 0 ||
                                          cpu_time->too_long + DISTRUST_TICKS <= cpu_time->seq);

    cpu_time->differed |= cpu_time->differs && trusted;
    return cpu_time->differed && trusted;
}
