/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_set.h - the groups of events of a hwpc-sensor's command line, counted and put in the form of
 * its reports: one set for the machine (-s), one for each cgroup (-c).
 *
 * CPUs     as hwpc_cpus.h says. A package of several dies has a counter for each on Intel: their
 *          sum.
 * Hotplug  after cb_topology_refresh(): cb_hwpc_set_look(), a last read of every target,
 *          cb_hwpc_target_follow() of each, cb_hwpc_set_followed(). A CPU that has gone has zeros.
 * Values   what was counted since the last read (or open), not scaled.
 * Errors   an event that cannot be counted, or not together with the others of its group, is one,
 *          as with hwpc-sensor; the text names it.
 * Threads  one object belongs to one thread. Reading allocates nothing.
 */
#ifndef CB_SENSOR_HWPC_SET_H
#define CB_SENSOR_HWPC_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/hwpc_options.h"
#include "sensor/hwpc_report.h"
#include "sensor/topology.h"

struct cb_err;
struct cb_hwpc_set;
struct cb_hwpc_target; /* the set's counters of the machine or of one cgroup */

/* @topology and @groups are borrowed until close. */
int cb_hwpc_set_open(int root_fd, const struct cb_topology *topology,
                     const struct cb_hwpc_groups *groups, bool machine,
                     struct cb_hwpc_set **ret_set, struct cb_err *err) cb_must_check;
struct cb_hwpc_set *cb_hwpc_set_close(struct cb_hwpc_set *set);

/* Valid until close, also when there is another one since. */
const struct cb_hwpc_form *cb_hwpc_set_form(const struct cb_hwpc_set *set);

/* @cgroup_fd: its directory, borrowed for the call; -1: the machine. Errors as of
 * cb_perf_target_open(). */
int cb_hwpc_target_open(struct cb_hwpc_set *set, int cgroup_fd, struct cb_hwpc_target **ret_target,
                        struct cb_err *err) cb_must_check;
struct cb_hwpc_target *cb_hwpc_target_close(struct cb_hwpc_set *set, struct cb_hwpc_target *target);

/* Fill @values[form->n_values]. @tick_ns is the length of the interval. An error says which CPU
 * could not be read; its values are 0. */
int cb_hwpc_target_read(struct cb_hwpc_set *set, struct cb_hwpc_target *target, uint64_t tick_ns,
                        uint64_t *values, struct cb_err *err) cb_must_check;

/* Choose the CPUs again; a new one changes the form. */
int cb_hwpc_set_look(struct cb_hwpc_set *set, int root_fd, struct cb_err *err) cb_must_check;

/* The CPU of that number was offline and is back: its counters must be opened anew. */
void cb_hwpc_set_tell_away(struct cb_hwpc_set *set, uint32_t cpu);

/* Must the targets follow though no CPU came or went? */
bool cb_hwpc_set_is_stuck(const struct cb_hwpc_set *set);

/* As cb_perf_target_follow(). */
int cb_hwpc_target_follow(struct cb_hwpc_set *set, struct cb_hwpc_target *target, int cgroup_fd,
                          struct cb_err *err) cb_must_check;
void cb_hwpc_set_followed(struct cb_hwpc_set *set);

#endif
