/* SPDX-License-Identifier: Apache-2.0 */
/* energy.c - see energy.h. */
#include "sensor/energy.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "sensor/energy_driver.h"

static const struct cb_energy_driver *const drivers[] = {
    &cb_energy_perf,
    &cb_energy_powercap,
    &cb_energy_msr,
    &cb_energy_estimate,
};
#define N_DRIVERS (sizeof(drivers) / sizeof(drivers[0]))

struct last {
    uint64_t total_uj;
    bool failed; /* the last reading: the next one only starts anew */
};

/* An open driver. */
struct part {
    const struct cb_energy_driver *driver; /* NULL: none */
    void *state;
    const struct cb_energy_counter *counters;
    size_t n;
    struct last *last;
};

struct cb_energy {
    struct part main;
    struct part cores; /* for what the main one lacks; of it only the cores are given */
    char reason[1024];
};

static void add_reason(struct cb_energy *energy, const char *name, const char *text)
{
    size_t n = strlen(energy->reason);

    (void)snprintf(energy->reason + n, sizeof(energy->reason) - n, "%s%s: %s", n ? "; " : "", name,
                   text);
}

static int open_driver(struct part *part, const struct cb_energy_driver *driver,
                       const struct cb_energy_options *options, struct cb_err *err)
{
    void *state = NULL;
    size_t n = 0;
    int r = driver->open(options, &state, &part->counters, &n, err);

    if (r < 0)
        return r;
    part->driver = driver;
    part->state = state;
    part->n = n;
    part->last = calloc(n, sizeof(*part->last));
    if (!part->last)
        return cb_err_set(err, ENOMEM, "out of memory");
    return 0;
}

static void close_part(struct part *part)
{
    if (part->driver)
        part->driver->close(part->state);
    free(part->last);
    *part = (struct part){0};
}

static bool has_cores(const struct part *part)
{
    for (size_t i = 0; i < part->n; i++)
        if (part->counters[i].domain == CB_DOMAIN_CORE)
            return true;
    return false;
}

/* AMD's cores may be shown by the registers alone. */
static int add_cores(struct cb_energy *energy, const struct cb_energy_options *options,
                     struct cb_err *err)
{
    struct cb_err why = {0};
    int r;

    if (options->topology->vendor != CB_CPU_AMD || has_cores(&energy->main) ||
        energy->main.driver->source == CB_SOURCE_ESTIMATE)
        return 0;
    r = open_driver(&energy->cores, &cb_energy_msr, options, &why);
    if (r == -ENOMEM)
        return cb_err_set(err, ENOMEM, "out of memory");
    if (r == 0 && !has_cores(&energy->cores)) {
        close_part(&energy->cores);
        r = cb_err_set(&why, ENOENT, "msr has none");
    }
    add_reason(energy, "cores", r < 0 ? why.text : "from msr");
    return 0;
}

static int try_all(struct cb_energy *energy, const struct cb_energy_options *options,
                   struct cb_err *err)
{
    for (size_t i = 0; i < N_DRIVERS; i++) {
        struct cb_err why = {0};
        int r;

        if (drivers[i] == &cb_energy_estimate && options->no_estimate) {
            add_reason(energy, "estimate", "switched off (--no-estimate)");
            continue;
        }
        r = open_driver(&energy->main, drivers[i], options, &why);
        if (r == 0) {
            add_reason(energy, drivers[i]->name,
                       drivers[i] == &cb_energy_estimate
                           ? "used, not a measurement (docs/estimate.md)"
                           : "used");
            return add_cores(energy, options, err);
        }
        if (r == -ENOMEM || r == -EINVAL) {
            if (err)
                *err = why;
            return r;
        }
        add_reason(energy, drivers[i]->name, why.text);
    }
    return 0;
}

int cb_energy_check(const struct cb_energy_options *options, struct cb_err *err)
{
    bool known = strcmp(options->wanted, "auto") == 0;

    for (size_t i = 0; i < N_DRIVERS; i++)
        known = known || strcmp(options->wanted, drivers[i]->name) == 0;
    if (!known)
        return cb_err_set(err, EINVAL,
                          "unknown energy source '%s': auto, perf, powercap, msr or estimate",
                          options->wanted);
    if (options->no_estimate && strcmp(options->wanted, cb_energy_estimate.name) == 0)
        return cb_err_set(err, EINVAL, "--energy estimate and --no-estimate contradict");
    if (options->max_watts > 0 && options->idle_watts > options->max_watts)
        return cb_err_set(err, EINVAL,
                          "--estimate-idle-watts (%.1f W) is above --estimate-max-watts (%.1f W)",
                          options->idle_watts, options->max_watts);
    return 0;
}

static int try_one(struct cb_energy *energy, const struct cb_energy_options *options,
                   struct cb_err *err)
{
    for (size_t i = 0; i < N_DRIVERS; i++) {
        int r;

        if (strcmp(options->wanted, drivers[i]->name) != 0)
            continue;
        r = open_driver(&energy->main, drivers[i], options, err);
        if (r < 0)
            return cb_err_prefix(err, r, "energy source '%s'", options->wanted);
        add_reason(energy, options->wanted, "used, as asked");
        return 0;
    }
    return -EINVAL; /* cb_energy_check() knows the names */
}

int cb_energy_open(const struct cb_energy_options *options, struct cb_energy **ret_energy,
                   struct cb_err *err)
{
    struct cb_energy *energy = NULL;
    int r = cb_energy_check(options, err);

    if (r < 0)
        return r;
    energy = calloc(1, sizeof(*energy));
    if (!energy)
        return cb_err_set(err, ENOMEM, "out of memory");
    r = strcmp(options->wanted, "auto") == 0 ? try_all(energy, options, err)
                                             : try_one(energy, options, err);
    if (r < 0)
        (void)cb_energy_close(energy);
    else
        *ret_energy = energy;
    return r;
}

struct cb_energy *cb_energy_close(struct cb_energy *energy)
{
    if (!energy)
        return NULL;
    close_part(&energy->main);
    close_part(&energy->cores);
    free(energy);
    return NULL;
}

size_t cb_energy_n(const struct cb_energy *energy)
{
    return energy->main.n + energy->cores.n;
}

const char *cb_energy_name(const struct cb_energy *energy)
{
    return energy->main.driver ? energy->main.driver->name : "none";
}

bool cb_energy_reads_registers(const struct cb_energy *energy)
{
    return energy->main.driver == &cb_energy_msr || energy->cores.driver == &cb_energy_msr;
}

const char *cb_energy_reason(const struct cb_energy *energy)
{
    return energy->reason;
}

static uint64_t uncertainty_uj(const struct cb_energy_counter *counter, uint64_t energy_uj)
{
    return counter->step_uj + (uint64_t)ceil(counter->uncertainty * (double)energy_uj);
}

/* One counter's interval; false when there is none this time. */
static bool read_counter(struct part *part, size_t i, const struct cb_energy_interval *interval,
                         struct cb_frame_energy *ret, struct cb_gaps *gaps)
{
    const struct cb_energy_counter *counter = &part->counters[i];
    struct last *last = &part->last[i];
    struct cb_err err = {0};
    uint64_t total_uj = 0;
    bool failed = last->failed;
    int r = part->driver->read(part->state, i, interval, &total_uj, &err);

    last->failed = r < 0 && r != -ENODATA;
    if (r == -ENODATA)
        last->total_uj = total_uj;
    if (r < 0) {
        cb_gaps_add(gaps, "energy", "%s %s: %s", part->driver->name, counter->name, err.text);
        return false;
    }
    if (failed) {
        last->total_uj = total_uj;
        cb_gaps_add(gaps, "energy", "%s %s: readable again, counted from now on",
                    part->driver->name, counter->name);
        return false;
    }
    ret->socket = counter->socket;
    ret->domain = counter->domain;
    ret->source = (uint8_t)part->driver->source;
    ret->energy_uj = total_uj - last->total_uj;
    ret->uncertainty_uj = uncertainty_uj(counter, ret->energy_uj);
    last->total_uj = total_uj;
    return true;
}

size_t cb_energy_read(struct cb_energy *energy, uint64_t tick_ns, const uint64_t *busy_ns,
                      struct cb_frame_energy *ret_energies, struct cb_gaps *gaps)
{
    const struct cb_energy_interval interval = {.tick_ns = tick_ns, .busy_ns = busy_ns};
    size_t n = 0;

    for (size_t i = 0; i < energy->main.n; i++)
        n += read_counter(&energy->main, i, &interval, &ret_energies[n], gaps);
    for (size_t i = 0; i < energy->cores.n; i++)
        if (energy->cores.counters[i].domain == CB_DOMAIN_CORE)
            n += read_counter(&energy->cores, i, &interval, &ret_energies[n], gaps);
    return n;
}
