/* SPDX-License-Identifier: Apache-2.0 */
/*
 * energy.h - the energy of the machine, from the best source it has.
 *
 * Order    perf's `power` PMU, the powercap files, the registers (msr), and last an estimate; each
 *          is tried, and cb_energy_reason() says what was chosen and why nothing better was.
 * Cores    AMD's core domain is in perf's `power_core` PMU (Linux 6.14) or in the registers only;
 *          with "auto" the latter, where they can be opened, add the cores to what perf or powercap
 *          gives.
 * Units    microjoules. An interval's energy is the difference of two floored cumulative values,
 *          so nothing drifts.
 * Faults   A counter that cannot be read is a gap of this tick; the first reading after it only
 *          starts anew, for what it holds belongs to a longer interval. One that was read, and
 *          shows what can be no energy (energy_step.h), is a gap of this tick alone.
 * Threads  one object belongs to one thread. Reading allocates nothing.
 *
 * To add a source: write energy_<name>.c with a `const struct cb_energy_driver`, declare it in
 * energy_driver.h and put it in the list in energy.c.
 */
#ifndef CB_SENSOR_ENERGY_H
#define CB_SENSOR_ENERGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"
#include "sensor/gaps.h"
#include "sensor/topology.h"

struct cb_err;
struct cb_energy;

struct cb_energy_options {
    int root_fd;
    const struct cb_topology *topology; /* borrowed until close */
    const char *wanted;                 /* "auto", "perf", "powercap", "msr", "estimate" */
    bool no_estimate;                   /* rather nothing than an estimate */
    double idle_watts; /* of the whole machine's packages, for the estimate; 0: the default */
    double max_watts;
};

/* What can be said of the options without a machine: `wanted`, `no_estimate` and the watts.
 * -EINVAL. */
int cb_energy_check(const struct cb_energy_options *options, struct cb_err *err) cb_must_check;

/* With "auto" a machine without any source is no error: cb_energy_n() is 0 then.
 * -EINVAL: an unknown name or watts that contradict; -EACCES: the source is there but not readable;
 * any errno of a source asked for by name. */
int cb_energy_open(const struct cb_energy_options *options, struct cb_energy **ret_energy,
                   struct cb_err *err) cb_must_check;
struct cb_energy *cb_energy_close(struct cb_energy *energy);

/* Most entries a read can give. */
size_t cb_energy_n(const struct cb_energy *energy);

/* "perf", "powercap", "msr", "estimate", "none". */
const char *cb_energy_name(const struct cb_energy *energy);

/* Are the registers (msr) read, if only for the cores? That needs rights of its own. */
bool cb_energy_reads_registers(const struct cb_energy *energy);

/* One line: what was chosen, and why the sources before it were not. */
const char *cb_energy_reason(const struct cb_energy *energy);

/* The energy since the last read (or open) into @ret_energies[cb_energy_n()]; returns how many.
 * @tick_ns is the interval's length, @busy_ns[n_sockets] the CPUs' busy time in it (for the
 * estimate; NULL: unknown). What could not be read is added to @gaps. */
size_t cb_energy_read(struct cb_energy *energy, uint64_t tick_ns, const uint64_t *busy_ns,
                      struct cb_frame_energy *ret_energies, struct cb_gaps *gaps);

#endif
