/* SPDX-License-Identifier: Apache-2.0 */
/* energy_step.c - see energy_step.h. */
#include "sensor/energy_step.h"

#include <errno.h>
#include <stdbool.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/err.h"

#define SOCKET_MAX_W 1000
#define PSYS_MAX_W 2000 /* for each socket */
/* Makes short ticks and late refreshes of a counter no reset. */
#define SLACK_S 1

static uint64_t monotonic_ns(void)
{
    struct timespec ts = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * CB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

struct cb_energy_moment cb_energy_moment(void)
{
    uint64_t before_ns = monotonic_ns();
    uint64_t boot_ns = cb_clock_boot_ns();
    uint64_t after_ns = monotonic_ns();

    return (struct cb_energy_moment){
        .awake_ns = after_ns,
        .slept_min_ns = boot_ns > after_ns ? boot_ns - after_ns : 0,
        .slept_max_ns = boot_ns - before_ns,
    };
}

double cb_energy_max_w(enum cb_domain domain, uint32_t n_sockets)
{
    return domain == CB_DOMAIN_PSYS ? PSYS_MAX_W * n_sockets : SOCKET_MAX_W;
}

int cb_energy_step(struct cb_energy_steps *steps, uint64_t now, const struct cb_energy_moment *at,
                   uint64_t *ret_counts, struct cb_err *err)
{
    const struct cb_energy_steps from = *steps;
    bool slept = at->slept_min_ns > from.at.slept_max_ns;
    bool back = now < from.last;
    double seconds = (double)(at->awake_ns - from.at.awake_ns) / 1e9;
    uint64_t counts = back ? from.range - from.last + now : now - from.last;
    double joules = (double)counts * from.uj_per_count / 1e6;
    double range_j = (double)from.range * from.uj_per_count / 1e6;

    steps->last = now;
    steps->at = *at;
    if (back && (slept || from.range == 0 || joules > from.max_w * (seconds + SLACK_S)))
        return cb_err_set(err, ENODATA, "the counter was reset, the energy since is unknown");
    if (joules > from.max_w * (seconds + SLACK_S))
        return cb_err_set(err, ENODATA,
                          "the counter leapt by %.0f J in %.3f s, more than %.0f W: the energy is "
                          "unknown",
                          joules, seconds, from.max_w);
    if (from.range > 0 && joules + range_j <= from.sustained_w * seconds)
        return cb_err_set(err, ENODATA,
                          "%.0f s passed, in which the counter may have begun again more than once "
                          "(every %.0f J): the energy is unknown",
                          seconds, range_j);
    *ret_counts = counts;
    return 0;
}

int cb_energy_worse(int result, int r, const struct cb_err *why, struct cb_err *err)
{
    if (r == 0 || (result < 0 && (result != -ENODATA || r == -ENODATA)))
        return result;
    if (err)
        *err = *why;
    return r;
}
