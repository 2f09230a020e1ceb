/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recap_flat.h - a stored recap under the names that powerapi-g5k's listener gave it, ours beside:
 * one flat object, energies in joules. MongoDB's documents, `cbformula recap --flat` and the answer
 * to a recap that was posted are made of it; docs/store.md has the table of members.
 *
 * Theirs    name, id; begin, beginwarmup, beginexecution, end; "warmup time" and "execution time"
 *           (s); warmup_powers_<D>_<socket> and execution_powers_<D>_<socket>: the joules of the
 *           whole machine in that phase, with D = PKG, DRAM, CORES, GPU (uncore), PSYS. A mark that
 *           was not set is the begin (where only the warm-up was, its time goes up to the end); a phase without data has no member.
 * Ours      test, machine, boot_id, image, exit_code (not there when it is not known), source; for
 *           each phase P and domain, joules: P_container_dynamic_<D>_<socket>,
 *           P_container_uncertainty_..., P_container_idle_... (what the idle policy gives it; of
 *           a recap as stored P_container_idle_proportional_... and P_container_idle_equal_...),
 *           P_others_..., P_system_..., P_idle_..., P_unattributed_...,
 *           P_source_... (text); and P_cpu_seconds, P_covered_seconds.
 */
#ifndef CB_FORMULA_RECAP_FLAT_H
#define CB_FORMULA_RECAP_FLAT_H

#include <jansson.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;

/* "PKG", "DRAM", "CORES", "GPU", "PSYS". */
const char *cb_flat_domain(enum cb_domain domain);

/* Is this member a time? In the flat object it is a whole number of milliseconds since 1970. */
bool cb_flat_is_date(const char *key);

/* Of a recap as stored or as told (recap.h). -EBADMSG: it is none; -ENOMEM. */
int cb_flat_recap(const json_t *recap, json_t **ret_flat, struct cb_err *err) cb_must_check;

/* The dates become text: 2026-11-22T14:00:00.000Z. */
int cb_flat_dates_to_text(json_t *flat, struct cb_err *err) cb_must_check;

#endif
