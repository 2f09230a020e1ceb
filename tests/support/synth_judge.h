/* SPDX-License-Identifier: Apache-2.0 */
/*
 * synth_judge.h - the engine on many synthetic machines (synth.h), its results against the truth.
 *
 * A recap is one container on one socket over its whole life, the model's first ticks included.
 * Parameter errors add linearly over it, noise in quadrature, as everywhere.
 */
#ifndef CB_TESTS_SYNTH_JUDGE_H
#define CB_TESTS_SYNTH_JUDGE_H

#include <stddef.h>
#include <stdint.h>

#include "formula/engine.h"
#include "tests/support/synth.h"

#define SYNTH_JUDGE_MACHINES 200 /* at most */
#define SYNTH_JUDGE_RECAPS (SYNTH_JUDGE_MACHINES * SYNTH_SOCKETS * SYNTH_TARGETS)

/* Of one domain. */
struct synth_tally {
    size_t n, covered;                     /* recaps; those whose 95 % interval holds the truth */
    size_t ticks, ticks_covered;           /* the same of single ticks */
    double error_uj, truth_uj;             /* sums over the recaps */
    double errors[SYNTH_JUDGE_RECAPS];     /* relative, of recaps: sorted by the quantiles */
    double halfwidths[SYNTH_JUDGE_RECAPS]; /* relative */
};

/* Machines of the seeds 1 to @machines for @ticks each; @tallies: of package and DRAM. Returns the
 * number of frames whose parts did not sum. */
uint64_t synth_judge(const struct synth_options *how, enum cb_model_kind model, uint64_t machines,
                     int ticks, struct synth_tally tallies[SYNTH_DOMAINS]);

/* Sorts @values; 0 where there is none. */
double synth_quantile(double *values, size_t n, double q);

#endif
