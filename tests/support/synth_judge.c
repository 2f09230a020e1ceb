/* SPDX-License-Identifier: Apache-2.0 */
/* synth_judge.c - see synth_judge.h. */
#include "tests/support/synth_judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct recap {
    double estimate_uj, truth_uj, param_uj, noise2_uj2;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double synth_quantile(double *values, size_t n, double q)
{
    qsort(values, n, sizeof(*values), compare);
    return n > 0 ? values[(size_t)(q * (double)(n - 1))] : 0;
}

static void add_tick(const struct synth *synth, const struct cb_result *result, size_t d,
                     struct recap recaps[SYNTH_SOCKETS][SYNTH_TARGETS], struct synth_tally *tally)
{
    const struct cb_result_domain *domain = &result->domains[d];
    size_t kind = domain->domain == CB_DOMAIN_DRAM;

    for (size_t i = 0; i < result->n_targets; i++) {
        const struct cb_share *share = &result->shares[d * result->n_targets + i];
        size_t id = result->target_ids[i] - 1;
        struct recap *recap = &recaps[domain->socket][id];
        double truth_uj = synth->dynamic_j[domain->socket][kind][id] * 1e6;
        double halfwidth_uj = (double)cb_result_halfwidth(
            (double)share->param_uj, (double)share->noise_uj, domain->energy_uj);

        recap->estimate_uj += (double)share->dynamic_uj;
        recap->truth_uj += truth_uj;
        recap->param_uj += (double)share->param_uj;
        recap->noise2_uj2 += (double)share->noise_uj * (double)share->noise_uj;
        tally->ticks++;
        tally->ticks_covered += fabs((double)share->dynamic_uj - truth_uj) <= halfwidth_uj + 1;
    }
}

static void add_recaps(struct recap recaps[SYNTH_SOCKETS][SYNTH_TARGETS], struct synth_tally *tally)
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

static uint64_t judge_one(const struct synth_options *how, enum cb_model_kind model, int ticks,
                          struct synth_tally tallies[SYNTH_DOMAINS])
{
    static struct synth synth;
    struct recap recaps[SYNTH_DOMAINS][SYNTH_SOCKETS][SYNTH_TARGETS] = {{{{0}}}};
    struct cb_engine *engine = NULL;
    struct cb_result result = {0};
    uint64_t violations;

    synth_init(&synth, how);
    if (cb_engine_new(&(struct cb_engine_options){.model = model}, &engine, NULL) < 0)
        abort();
    for (int tick = 0; tick < ticks; tick++) {
        synth_tick(&synth);
        if (cb_engine_frame(engine, &synth.frame, &result, NULL) < 0)
            abort();
        for (size_t d = 0; d < result.n_domains; d++) {
            size_t kind = result.domains[d].domain == CB_DOMAIN_DRAM;

            add_tick(&synth, &result, d, recaps[kind], &tallies[kind]);
        }
    }
    violations = cb_engine_violations(engine);
    engine = cb_engine_free(engine);
    cb_result_clear(&result);
    for (size_t kind = 0; kind < SYNTH_DOMAINS; kind++)
        add_recaps(recaps[kind], &tallies[kind]);
    return violations;
}

uint64_t synth_judge(const struct synth_options *how, enum cb_model_kind model, uint64_t machines,
                     int ticks, struct synth_tally tallies[SYNTH_DOMAINS])
{
    struct synth_options of_seed = *how;
    uint64_t violations = 0;

    memset(tallies, 0, SYNTH_DOMAINS * sizeof(*tallies));
    for (of_seed.seed = 1; of_seed.seed <= machines; of_seed.seed++)
        violations += judge_one(&of_seed, model, ticks, tallies);
    return violations;
}
