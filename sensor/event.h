/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event.h - from the name of a counter event to what perf_event_open(2) wants.
 *
 * A name may have several encodings; they are tried in this order, and the caller takes the first
 * that this CPU can open:
 *   1. a name known to libpfm4 ("cycles", "CPU_CLK_UNHALTED:THREAD_P"), user and kernel counted
 *   2. sysfs: "pmu/name/" or "pmu/event=0x3c,umask=1/" (/sys/bus/event_source/devices/<pmu>/
 *      {type,events,format}), or a bare name in the core PMU's events/
 *   3. raw: "rUUEE", hexadecimal
 *   4. names that PowerAPI's users know and that libpfm lacks on many CPUs (LLC_MISSES,
 *      RAPL_ENERGY_PKG, APERF, UNC_P_CLOCKTICKS, ...): Intel's architectural codes, the kernel's
 *      generic events, or what sysfs has for them
 * Guest and hypervisor cycles are counted too: a virtual machine's energy is its cgroup's.
 * Events of PMUs that count a whole socket (they have a `cpumask`) cannot be told apart by cgroup
 * and are refused, but for the machine.
 */
#ifndef CB_SENSOR_EVENT_H
#define CB_SENSOR_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "sensor/topology.h"

struct cb_err;

#define CB_EVENT_NAME_SIZE 128
#define CB_EVENT_PMU_SIZE 32

struct cb_event {
    char name[CB_EVENT_NAME_SIZE]; /* as the user gave it */
    char pmu[CB_EVENT_PMU_SIZE];   /* "cpu", "software", "msr", ... */
    uint32_t type;
    uint64_t config, config1, config2;
    uint8_t group;
    bool per_socket; /* its PMU counts a whole socket */
    /* Counts idle time too when a whole CPU is counted: cpu-clock, task-clock, the TSC. */
    bool ticks_in_idle;
};

/* The @attempt-th encoding of @name (0, 1, ...). -ENOENT: there is no further one; the text says
 * why the last kind did not fit. -EINVAL: never countable per cgroup. @root_fd stands for "/". */
int cb_event_resolve(int root_fd, enum cb_cpu_vendor vendor, const char *name, unsigned attempt,
                     struct cb_event *ret_event, struct cb_err *err) cb_must_check;

/* The same for the machine, where PMUs that count a whole socket are welcome. */
int cb_event_resolve_machine(int root_fd, enum cb_cpu_vendor vendor, const char *name,
                             unsigned attempt, struct cb_event *ret_event,
                             struct cb_err *err) cb_must_check;

/* PMUs that count some of the CPUs only (they have a file `cpus`), in the order of their first CPU;
 * none where there are fewer than two. */
#define CB_EVENT_MAX_CORE_PMUS 8

struct cb_event_core_pmu {
    char name[CB_EVENT_PMU_SIZE];
    uint8_t *cpus; /* [CB_FRAME_MAX_CPUS] by CPU number */
};
struct cb_event_core_pmus {
    size_t n;
    struct cb_event_core_pmu at[CB_EVENT_MAX_CORE_PMUS];
};
int cb_event_core_pmus(int root_fd, struct cb_event_core_pmus *ret_pmus,
                       struct cb_err *err) cb_must_check;
void cb_event_core_pmus_fini(struct cb_event_core_pmus *pmus);

/* The @attempt-th encoding of @name for the core PMU @pmu. -EXDEV: it is no event of core PMUs, or
 * names another one. */
int cb_event_resolve_core(int root_fd, enum cb_cpu_vendor vendor, const char *pmu, const char *name,
                          unsigned attempt, struct cb_event *ret_event,
                          struct cb_err *err) cb_must_check;

/* Is @name an event of any core PMU, or of none that we know? */
bool cb_event_is_core(int root_fd, enum cb_cpu_vendor vendor, const struct cb_event_core_pmus *pmus,
                      const char *name);

/* Set the bits of @value in the word that a sysfs format describes: "config:0-7,32-35",
 * "config1:0". -EINVAL: not such a description; -ERANGE: @value has more bits. */
int cb_event_apply_format(const char *format, uint64_t value, struct cb_event *event) cb_must_check;

/* The next name of "cycles,cpu/event=0x3c,umask=1/,r412e": commas inside slashes belong to the
 * name. *@list moves on. 1: one name; 0: the end; -EINVAL: empty or too long. */
int cb_event_next_name(const char **list, char ret_name[CB_EVENT_NAME_SIZE]) cb_must_check;

#endif
