/* SPDX-License-Identifier: Apache-2.0 */
/*
 * result_sum.h - several results that follow each other as one: what the store keeps of old frames.
 *
 * Every energy and CPU time is the exact sum, so the rule of result.h holds for the sum too;
 * uncertainties add as result.h says (parameters and source linearly, noise in quadrature); flags
 * are those of any of them; the prediction is the mean over time. Pure.
 */
#ifndef CB_FORMULA_RESULT_SUM_H
#define CB_FORMULA_RESULT_SUM_H

#include <stdbool.h>

#include "formula/map.h"
#include "formula/result.h"
#include "lib/cleanup.h"

struct cb_err;

/* Start with a zeroed one. */
struct cb_result_sum {
    struct cb_result result;
    struct cb_map places; /* target id to its index */
};

/* May @next be added: does it begin where the sum ends, and have its domains and sources? True for
 * an empty sum. */
bool cb_result_sum_fits(const struct cb_result_sum *sum, const struct cb_result *next);

/* After a failure the sum is of no use. */
int cb_result_sum_add(struct cb_result_sum *sum, const struct cb_result *next,
                      struct cb_err *err) cb_must_check;
void cb_result_sum_clear(struct cb_result_sum *sum);

#endif
