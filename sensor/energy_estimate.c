/* SPDX-License-Identifier: Apache-2.0 */
/*
 * energy_estimate.c - not a measurement: a straight line of CPU use between an idle and a full-load
 * power, for machines without RAPL. docs/estimate.md derives the numbers.
 *
 * Power of a socket = its CPUs x idle + (busy CPU seconds per second) x (full - idle).
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/err.h"
#include "sensor/energy_driver.h"

/* Least squares over 218 readings of RAPL package power of 11 server processors (8 to 96 threads),
 * each processor weighing the same, in watts per hardware thread. */
#define IDLE_W_PER_CPU 1.3
#define MAX_W_PER_CPU 6.4
/* Half-width of the 95 % interval as a ratio: with the defaults, from leaving out one processor at
 * a time (108 to 109 %); with the user's own two end points only the curve's bend remains (62 %).
 */
#define DEFAULT_UNCERTAINTY 1.1
#define OWN_UNCERTAINTY 0.65

struct socket_total {
    double idle_w;
    double w_per_busy; /* more watts for each busy CPU */
    double uj;
};

struct estimate {
    size_t n;
    struct cb_energy_counter counters[CB_FRAME_MAX_SOCKETS];
    struct socket_total totals[CB_FRAME_MAX_SOCKETS];
};

static int estimate_open(const struct cb_energy_options *options, void **ret_state,
                         const struct cb_energy_counter **ret_counters, size_t *ret_n,
                         struct cb_err *err)
{
    const struct cb_topology *t = options->topology;
    double idle_w = options->idle_watts > 0 ? options->idle_watts / t->n_cpus : IDLE_W_PER_CPU;
    double max_w = options->max_watts > 0 ? options->max_watts / t->n_cpus : MAX_W_PER_CPU;
    bool own = options->idle_watts > 0 && options->max_watts > 0;
    struct estimate *e;

    if (max_w < idle_w)
        return cb_err_set(err, EINVAL,
                          "the estimate's idle power (%.1f W) is above its full-load power "
                          "(%.1f W): set --estimate-idle-watts and --estimate-max-watts",
                          idle_w * t->n_cpus, max_w * t->n_cpus);
    e = calloc(1, sizeof(*e));
    if (!e)
        return cb_err_set(err, ENOMEM, "out of memory");
    e->n = t->n_sockets;
    for (size_t s = 0; s < e->n; s++) {
        e->counters[s] = (struct cb_energy_counter){
            .socket = (uint16_t)s,
            .domain = CB_DOMAIN_PACKAGE,
            .uncertainty = own ? OWN_UNCERTAINTY : DEFAULT_UNCERTAINTY,
        };
        (void)snprintf(e->counters[s].name, sizeof(e->counters[s].name), "package of socket %zu",
                       s);
        e->totals[s] = (struct socket_total){
            .idle_w = idle_w * t->socket_cpus[s],
            .w_per_busy = max_w - idle_w,
        };
    }
    *ret_state = e;
    *ret_counters = e->counters;
    *ret_n = e->n;
    return 0;
}

static int estimate_read(void *state, size_t counter, const struct cb_energy_interval *interval,
                         uint64_t *ret_total_uj, struct cb_err *err)
{
    struct estimate *e = state;
    struct socket_total *total = &e->totals[counter];

    *ret_total_uj = (uint64_t)floor(total->uj);
    if (!interval->busy_ns)
        return cb_err_set(err, ENODATA, "no estimate: the CPUs' use is unknown");
    /* W x ns = nJ */
    total->uj += (total->idle_w * (double)interval->tick_ns +
                  total->w_per_busy * (double)interval->busy_ns[counter]) /
                 1e3;
    *ret_total_uj = (uint64_t)floor(total->uj);
    return 0;
}

const struct cb_energy_driver cb_energy_estimate = {
    .name = "estimate",
    .source = CB_SOURCE_ESTIMATE,
    .open = estimate_open,
    .read = estimate_read,
    .close = free,
};
