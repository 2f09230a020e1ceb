/* SPDX-License-Identifier: Apache-2.0 */
/* power.h - looking at stored results: the names of their targets, one figure for a share's
 * uncertainty. Shared by the HTTP API and `cbformula query`. */
#ifndef CB_FORMULA_POWER_H
#define CB_FORMULA_POWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formula/map.h"
#include "formula/recap.h"
#include "formula/result.h"
#include "formula/store.h"
#include "lib/cleanup.h"

struct cb_err;

/* Dictionary entries, each read once. Start with a zeroed one that has its store. */
struct cb_names {
    struct cb_store *store;
    struct cb_map places;
    size_t n, capacity;
    struct cb_store_target *targets;
};

/* An unknown target gets a placeholder. *@ret_target is valid until the next call. */
int cb_names_get(struct cb_names *names, int64_t start, uint32_t target,
                 const struct cb_store_target **ret_target, struct cb_err *err) cb_must_check;
void cb_names_clear(struct cb_names *names);

/* Is @text the name, the container id or its beginning (at least 8 characters)? */
bool cb_names_match(const struct cb_store_target *target, const char *text);

/* Half-width of the 95 % interval of a share: model and energy source together. */
uint64_t cb_share_uncertainty(const struct cb_result_domain *domain, const struct cb_share *share);

/* What @policy gives the target @i of the idle energy of domain @d. */
uint64_t cb_share_idle(enum cb_idle_policy policy, const struct cb_result *result, size_t d,
                       size_t i);

#endif
