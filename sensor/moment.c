/* SPDX-License-Identifier: Apache-2.0 */
/* moment.c - see moment.h. */
#include "sensor/moment.h"

#include <stdlib.h>

#include "lib/clock.h"

#define AGAIN 2
#define LEAST_NS (CB_NS_PER_S / 1000)
#define PART 200

struct cb_moment {
    struct cb_moment_options options;
    uint64_t best_ns; /* what a reading takes here when nothing is in the way */
    struct cb_moment_reading more;
};

struct cb_moment *cb_moment_open(const struct cb_moment_options *options)
{
    struct cb_moment *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->options = *options;
    m->best_ns = UINT64_MAX;
    m->more.energies = calloc(options->n_energies + 1, sizeof(*m->more.energies));
    m->more.counts = calloc(options->n_counts + 1, sizeof(*m->more.counts));
    m->more.enabled_ns = calloc(options->n_times + 1, sizeof(*m->more.enabled_ns));
    m->more.running_ns = calloc(options->n_times + 1, sizeof(*m->more.running_ns));
    if (!m->more.energies || !m->more.counts || !m->more.enabled_ns || !m->more.running_ns)
        return cb_moment_close(m);
    return m;
}

struct cb_moment *cb_moment_close(struct cb_moment *m)
{
    if (!m)
        return NULL;
    free(m->more.energies);
    free(m->more.counts);
    free(m->more.enabled_ns);
    free(m->more.running_ns);
    free(m);
    return NULL;
}

static void add_numbers(uint64_t *to, const uint64_t *more, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += more[i];
}

/* A counter that only the second reading has began to be counted there: it is not of the whole
 * interval. One that only the first has ends there, which its gap says. */
static void add_energies(struct cb_moment_reading *to, const struct cb_moment_reading *more)
{
    for (size_t i = 0; i < to->n_energies; i++)
        for (size_t j = 0; j < more->n_energies; j++) {
            const struct cb_frame_energy *e = &more->energies[j];

            if (e->socket != to->energies[i].socket || e->domain != to->energies[i].domain)
                continue;
            to->energies[i].energy_uj += e->energy_uj;
            if (e->uncertainty_uj > to->energies[i].uncertainty_uj)
                to->energies[i].uncertainty_uj = e->uncertainty_uj;
        }
}

static bool is_unusual(const struct cb_moment *m, uint64_t took_ns, uint64_t tick_ns)
{
    return took_ns > LEAST_NS && took_ns > tick_ns / PART && took_ns / 2 > m->best_ns;
}

/* The best rises slowly again: CPUs and events may have been added. */
static void note(struct cb_moment *m, uint64_t took_ns)
{
    if (took_ns < m->best_ns)
        m->best_ns = took_ns;
    else
        m->best_ns += m->best_ns / 64 + 1;
}

uint64_t cb_moment_read(struct cb_moment *m, uint64_t t0_ns, struct cb_moment_reading *reading)
{
    const struct cb_moment_options *o = &m->options;
    uint64_t t1_ns = cb_clock_boot_ns();
    bool whole = o->read(o->context, t1_ns - t0_ns, reading);
    uint64_t took_ns = cb_clock_boot_ns() - t1_ns;

    for (int i = 0; whole && i < AGAIN && is_unusual(m, took_ns, t1_ns - t0_ns); i++) {
        uint64_t before_ns = t1_ns;

        t1_ns = cb_clock_boot_ns();
        whole = o->read(o->context, t1_ns - before_ns, &m->more);
        took_ns = cb_clock_boot_ns() - t1_ns;
        add_energies(reading, &m->more);
        add_numbers(reading->counts, m->more.counts, o->n_counts);
        add_numbers(reading->enabled_ns, m->more.enabled_ns, o->n_times);
        add_numbers(reading->running_ns, m->more.running_ns, o->n_times);
    }
    note(m, took_ns);
    return t1_ns;
}
