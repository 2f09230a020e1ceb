/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_cpu_time.h - is what reports call "time_running" the targets' CPU time, to be trusted as a
 * weight?
 *
 * Once it differed between two targets of a tick, it is: with counters that always run, it is the
 * tick's own for all of them. Not in a tick that is shorter than it and the 9 after that, nor where
 * a target's sum begins, already longer than the tick.
 */
#ifndef CB_FORMULA_HWPC_CPU_TIME_H
#define CB_FORMULA_HWPC_CPU_TIME_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed to begin with. */
struct cb_hwpc_cpu_time {
    bool differed;
    uint64_t too_long; /* seq of the last frame that had a longer one than itself; 0: none */
    /* of this frame */
    uint64_t seq;
    double tick_ns;
    bool unknown; /* a target's sum is new and longer than the tick */
    bool differs;
    double last_ns; /* of the target before; negative: none */
};

void cb_hwpc_cpu_time_begin(struct cb_hwpc_cpu_time *cpu_time, uint64_t seq, double tick_ns);

/* Of one CPU of a target; @first: of a sum that this is the first reading of. */
void cb_hwpc_cpu_time_judge(struct cb_hwpc_cpu_time *cpu_time, double running_ns, bool first);

/* Of a target, all its CPUs; negative: not counted. */
void cb_hwpc_cpu_time_target(struct cb_hwpc_cpu_time *cpu_time, double cpu_ns);

/* After all targets: has the frame CPU time for an event? */
bool cb_hwpc_cpu_time_end(struct cb_hwpc_cpu_time *cpu_time);

#endif
