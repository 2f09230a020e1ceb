/* SPDX-License-Identifier: Apache-2.0 */
/*
 * synthetic.c - the engine on 200 synthetic machines (tests/support/synth.h): how far a container's
 * recap is from the truth, and how often the interval contains it. Prints the rows of a table.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formula/engine.h"
#include "tests/support/synth.h"

#define MACHINES 200
#define TICKS 200
#define RECAPS (MACHINES * SYNTH_SOCKETS * SYNTH_TARGETS)

struct recap {
    double estimate_uj, truth_uj, param_uj, noise2_uj2;
};

struct tally {
    size_t n, covered, ticks, ticks_covered;
    double error_uj, truth_uj;
    double errors[RECAPS], halfwidths[RECAPS];
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double quantile(double *values, size_t n, double q)
{
    qsort(values, n, sizeof(*values), compare);
    return n > 0 ? values[(size_t)(q * (double)(n - 1))] : 0;
}

static void add_tick(const struct synth *synth, const struct cb_result *result, size_t d,
                     struct recap recaps[SYNTH_SOCKETS][SYNTH_TARGETS], struct tally *tally)
{
    const struct cb_result_domain *domain = &result->domains[d];
    size_t kind = domain->domain == CB_DOMAIN_DRAM;

    for (size_t i = 0; i < result->n_targets; i++) {
        const struct cb_share *share = &result->shares[d * result->n_targets + i];
        size_t id = result->target_ids[i] - 1;
        struct recap *recap = &recaps[domain->socket][id];
        double truth_uj = synth->dynamic_j[domain->socket][kind][id] * 1e6;
        double halfwidth_uj = hypot((double)share->param_uj, (double)share->noise_uj);

        recap->estimate_uj += (double)share->dynamic_uj;
        recap->truth_uj += truth_uj;
        recap->param_uj += (double)share->param_uj;
        recap->noise2_uj2 += (double)share->noise_uj * (double)share->noise_uj;
        tally->ticks++;
        tally->ticks_covered += fabs((double)share->dynamic_uj - truth_uj) <= halfwidth_uj + 1;
    }
}

static void add_recaps(struct recap recaps[SYNTH_SOCKETS][SYNTH_TARGETS], struct tally *tally)
{
    for (size_t i = 0; i < (size_t)SYNTH_SOCKETS * SYNTH_TARGETS; i++) {
        const struct recap *recap = &recaps[i / SYNTH_TARGETS][i % SYNTH_TARGETS];
        double halfwidth_uj = hypot(recap->param_uj, sqrt(recap->noise2_uj2));
        double error_uj = fabs(recap->estimate_uj - recap->truth_uj);

        if (!(recap->truth_uj > 0))
            continue;
        tally->covered += error_uj <= halfwidth_uj + 1;
        tally->error_uj += error_uj;
        tally->truth_uj += recap->truth_uj;
        tally->errors[tally->n] = error_uj / recap->truth_uj;
        tally->halfwidths[tally->n++] = halfwidth_uj / recap->truth_uj;
    }
}

static void run(const struct synth_options *how, enum cb_model_kind model, struct tally tallies[2])
{
    static struct synth synth;
    const struct cb_engine_options options = {.model = model};
    struct cb_result result = {0};

    memset(tallies, 0, 2 * sizeof(*tallies));
    for (uint64_t seed = 1; seed <= MACHINES; seed++) {
        struct recap recaps[2][SYNTH_SOCKETS][SYNTH_TARGETS] = {{{{0}}}};
        struct synth_options of_seed = *how;
        struct cb_engine *engine = NULL;

        of_seed.seed = seed;
        synth_init(&synth, &of_seed);
        if (cb_engine_new(&options, &engine, NULL) < 0)
            abort();
        for (int tick = 0; tick < TICKS; tick++) {
            synth_tick(&synth);
            if (cb_engine_frame(engine, &synth.frame, &result, NULL) < 0)
                abort();
            for (size_t d = 0; d < result.n_domains; d++) {
                size_t kind = result.domains[d].domain == CB_DOMAIN_DRAM;

                add_tick(&synth, &result, d, recaps[kind], &tallies[kind]);
            }
        }
        if (cb_engine_violations(engine) > 0)
            abort();
        engine = cb_engine_free(engine);
        add_recaps(recaps[0], &tallies[0]);
        add_recaps(recaps[1], &tallies[1]);
    }
    cb_result_clear(&result);
}

static void print(const char *load, const char *model, const char *domain, struct tally *tally)
{
    printf("| %s | %s | %s | %zu | %.1f | %.1f | %.1f | %.1f | %.1f |\n", load, domain, model,
           tally->n, 100 * quantile(tally->errors, tally->n, 0.5),
           100 * tally->error_uj / tally->truth_uj,
           100 * quantile(tally->halfwidths, tally->n, 0.5),
           100 * (double)tally->covered / (double)tally->n,
           100 * (double)tally->ticks_covered / (double)tally->ticks);
}

int main(void)
{
    static const struct {
        const char *name;
        struct synth_options options;
    } loads[] = {
        {"staggered", {.load = SYNTH_STAGGERED}},
        {"staggered, linear machine", {.load = SYNTH_STAGGERED, .linear = true}},
        {"constant mix", {.load = SYNTH_CONSTANT}},
    };
    static struct tally tallies[2];

    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        run(&loads[i].options, CB_MODEL_CBWATTS, tallies);
        print(loads[i].name, "cbwatts", "package", &tallies[0]);
        print(loads[i].name, "cbwatts", "DRAM", &tallies[1]);
        run(&loads[i].options, CB_MODEL_CPUTIME, tallies);
        print(loads[i].name, "CPU time", "package", &tallies[0]);
        print(loads[i].name, "CPU time", "DRAM", &tallies[1]);
    }
    return 0;
}
