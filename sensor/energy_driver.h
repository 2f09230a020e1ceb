/* SPDX-License-Identifier: Apache-2.0 */
/* energy_driver.h - one source of energy, behind energy.h. */
#ifndef CB_SENSOR_ENERGY_DRIVER_H
#define CB_SENSOR_ENERGY_DRIVER_H

#include "sensor/energy.h"

#define CB_ENERGY_MAX_COUNTERS CB_FRAME_MAX_ENERGIES

/* One socket's one domain, as a source numbers them 0, 1, ... */
struct cb_energy_counter {
    uint16_t socket;
    uint8_t domain;     /* enum cb_domain */
    char name[104];     /* for people: "package-0", "energy-pkg cpu 0" */
    uint64_t step_uj;   /* half-width of the uncertainty that does not grow with the energy */
    double uncertainty; /* and of the part that does, as a ratio of the energy */
};

struct cb_energy_interval {
    uint64_t tick_ns;
    const uint64_t *busy_ns; /* [n_sockets] or NULL */
};

struct cb_energy_driver {
    const char *name;
    enum cb_source source;
    /* Find and open the counters; *@ret_counters (the driver's, until close) and their number.
     * -ENOENT: this machine has none. */
    int (*open)(const struct cb_energy_options *options, void **ret_state,
                const struct cb_energy_counter **ret_counters, size_t *ret_n, struct cb_err *err);
    /* Cumulative floored microjoules of one counter since open, never decreasing. -ENODATA: what
     * this interval used is unknown and not in the total, which is given all the same; the next
     * interval is whole. After any other error the next reading belongs to a longer interval.
     * Of several sources each is read, whatever is wrong with the others (cb_energy_worse()). */
    int (*read)(void *state, size_t counter, const struct cb_energy_interval *interval,
                uint64_t *ret_total_uj, struct cb_err *err);
    void (*close)(void *state);
};

extern const struct cb_energy_driver cb_energy_perf;
extern const struct cb_energy_driver cb_energy_powercap;
extern const struct cb_energy_driver cb_energy_msr;
extern const struct cb_energy_driver cb_energy_estimate;

/* The step of RAPL counters where the source does not tell it: 2^-14 J = 61 uJ, the common unit of
 * Intel packages (Intel SDM vol. 3, "RAPL interfaces"); AMD's and DRAM's are finer. */
#define CB_RAPL_STEP_UJ 62

#endif
