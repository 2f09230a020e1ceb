/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler.h - everything that is read in one tick, as one frame.
 *
 * Order    t1, the energy, the machine's counters (moment.h: again, when something came between),
 *          the cgroups', one right after the other. What else is told is read before (busy time,
 *          the clocks of machine.h) or after (files, texts).
 * Row 0    the machine. Events that tick in idle too (cpu-clock, the TSC) are brought to the time
 *          when something ran (busy.h), and never below the sum of the rows that follow: so that
 *          "machine minus containers" means the same for every event.
 * Ends     a container that is gone gets its last row with CB_TARGET_GONE. Where its name is still
 *          being asked for, that row waits for it up to 3 s; the rows before hold what it used.
 * Texts    a frame has room for 1 MiB of them, or less where its counts need the place: what is more
 *          is told in the frames that follow, short ones first. A last row waits for its text.
 * Many     targets whose counts no frame could hold are refused: they count as system, and every frame
 *          says how many they are. They are offered again (cgroup.h).
 * Metrics  where reading them takes much of a tick they are read a few containers at a time in the
 *          pauses (cb_sampler_work), and are in the first frame after the last of them.
 * CPUs     that come or go are taken up after the frame that follows cb_sampler_look().
 * Few descriptors  done() takes a step back (count.h) when they have run out, says it once and
 *          counts those again that were not; ask_again() tries what is still not counted.
 * Memory   born(), gone(), text(), look() and done() may allocate, read() does not.
 * Threads  one object belongs to one thread.
 */
#ifndef CB_SENSOR_SAMPLER_H
#define CB_SENSOR_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "sensor/busy.h"
#include "sensor/cgroup.h"
#include "sensor/count.h"
#include "sensor/docker.h"
#include "sensor/energy.h"
#include "sensor/gaps.h"
#include "sensor/machine.h"
#include "sensor/metrics.h"
#include "sensor/perf.h"

struct cb_err;
struct cb_sampler;

/* Everything is borrowed until close. */
struct cb_sampler_options {
    int root_fd;
    int counting_fd; /* root of the hierarchy that is counted in */
    const char *sensor;
    const char *boot_id;
    const char *start_id;
    struct cb_topology *topology; /* cb_sampler_look() keeps it up to date */
    const struct cb_perf *perf;   /* the events */
    struct cb_count *count;
    struct cb_machine *machine;
    struct cb_busy *busy;
    struct cb_energy *energy;
    struct cb_docker *docker;   /* NULL: names are not asked for */
    struct cb_metrics *metrics; /* NULL: no container metrics */
    uint64_t metrics_ns;        /* their own period: other frames do not have their columns */
    uint64_t tick_ns;           /* what takes much of it is read between the ticks; 0: in them */
    struct cb_gaps *gaps;
};

int cb_sampler_open(const struct cb_sampler_options *options, struct cb_sampler **ret_sampler,
                    struct cb_err *err) cb_must_check;
struct cb_sampler *cb_sampler_close(struct cb_sampler *sampler);

/* The callbacks of cb_cgroup_options; @context is the sampler. */
void *cb_sampler_born(void *context, const struct cb_cgroup_found *found);
void cb_sampler_gone(void *context, void *cookie);

/* Is a container with this id among the targets? */
bool cb_sampler_has_container(const struct cb_sampler *sampler, const char *id);
size_t cb_sampler_n_targets(const struct cb_sampler *sampler);

/* An answer of docker.h; takes what it owns. */
void cb_sampler_text(struct cb_sampler *sampler, struct cb_docker_answer *answer);

/* Try again what failed: names that were not found, targets that could not be counted; and see that
 * nobody has taken the hierarchy away. Every few seconds. */
void cb_sampler_ask_again(struct cb_sampler *sampler);

/* Have CPUs come or gone? True: close the tick early. */
bool cb_sampler_look(struct cb_sampler *sampler);

/* Between ticks: do for about @for_ns what can wait. True: there is more. */
bool cb_sampler_work(struct cb_sampler *sampler, uint64_t for_ns);

/* Begin the first interval now. */
void cb_sampler_start(struct cb_sampler *sampler);

/* Boottime at which the interval that is running began. */
uint64_t cb_sampler_t0_ns(const struct cb_sampler *sampler);

/* End the interval: *@ret_frame is valid until the next call. @dictionary: tell every target's
 * text, also when this call fails. -EAGAIN: no time has passed. The caller fills lost_frames and
 * missed_ticks. */
int cb_sampler_read(struct cb_sampler *sampler, bool dictionary, struct cb_frame **ret_frame,
                    struct cb_err *err) cb_must_check;

/* The frame of the last read is done with. @delivered: its texts need not be told again. */
void cb_sampler_done(struct cb_sampler *sampler, bool delivered);

#endif
