/* SPDX-License-Identifier: Apache-2.0 */
/*
 * synthetic.c - the engine on 200 synthetic machines (tests/support/synth_judge.h): how far a
 * container's recap is from the truth, and how often the interval contains it. Prints the rows of a
 * table.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/synth_judge.h"

#define TICKS 200

static void print(const char *load, const char *model, const char *domain,
                  struct synth_tally *tally)
{
    printf("| %s | %s | %s | %zu | %.1f | %.1f | %.1f | %.1f | %.1f |\n", load, domain, model,
           tally->n, 100 * synth_quantile(tally->errors, tally->n, 0.5),
           100 * tally->error_uj / tally->truth_uj,
           100 * synth_quantile(tally->halfwidths, tally->n, 0.5),
           100 * (double)tally->covered / (double)tally->n,
           100 * (double)tally->ticks_covered / (double)tally->ticks);
}

static void run(const char *load, const struct synth_options *how, enum cb_model_kind model,
                const char *name)
{
    static struct synth_tally tallies[SYNTH_DOMAINS];

    if (synth_judge(how, model, SYNTH_JUDGE_MACHINES, TICKS, tallies) > 0)
        abort();
    print(load, name, "package", &tallies[0]);
    print(load, name, "DRAM", &tallies[1]);
}

int main(void)
{
    static const struct {
        const char *name;
        struct synth_options options;
    } loads[] = {
        {"staggered", {.load = SYNTH_STAGGERED}},
        {"staggered, PowerAPI's reports", {.load = SYNTH_STAGGERED, .powerapi = true}},
        {"staggered, linear machine", {.load = SYNTH_STAGGERED, .linear = true}},
        {"constant mix", {.load = SYNTH_CONSTANT}},
        {"constant mix, PowerAPI's reports", {.load = SYNTH_CONSTANT, .powerapi = true}},
    };

    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        run(loads[i].name, &loads[i].options, CB_MODEL_CBWATTS, "cbwatts");
        run(loads[i].name, &loads[i].options, CB_MODEL_CPUTIME, "CPU time");
    }
    return 0;
}
