/* SPDX-License-Identifier: Apache-2.0 */
/*
 * result.h - what one frame became: per socket and domain the exact parts, per target its share.
 *
 * The rule (docs/design.md, Energy), for every entry d of `domains`, in integer microjoules:
 *     energy_uj == idle_uj + system_uj + unattributed_uj + sum over targets of dynamic_uj
 * Uncertainty comes in two parts because they add up differently over a recap (half-widths of the
 * 95 % interval, in microjoules): `param_uj`, from the model's parameters, adds linearly from tick
 * to tick; `noise_uj`, from the tick itself, adds in quadrature. One figure: cb_result_halfwidth().
 */
#ifndef CB_FORMULA_RESULT_H
#define CB_FORMULA_RESULT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/frame.h"

struct cb_err;

struct cb_share {
    uint64_t dynamic_uj;
    float param_uj;
    float noise_uj;
};

enum cb_result_flag {
    CB_RESULT_PRIOR = 1,     /* the model has learnt nothing yet: a labelled prior, wide interval */
    CB_RESULT_NO_SYSTEM = 2, /* the input has no machine-wide counters: system is 0 by definition */
    CB_RESULT_GAP = 4,       /* counters were missing: (part of) the energy is unattributed */
};

struct cb_result_domain {
    uint16_t socket;
    uint8_t domain; /* enum cb_domain */
    uint8_t source; /* enum cb_source */
    uint32_t flags; /* enum cb_result_flag */
    uint64_t energy_uj;
    uint64_t idle_uj;
    uint64_t system_uj;
    uint64_t unattributed_uj;
    uint64_t source_uncertainty_uj; /* of energy_uj itself, from the frame */
    float system_param_uj, system_noise_uj;
    float idle_param_uj, idle_noise_uj;
    double predicted_w; /* idle included, made before this tick was learnt from; NAN: none */
};

struct cb_result {
    uint64_t t0_ns, t1_ns; /* BOOTTIME of the machine */
    uint64_t wall_ns;      /* REALTIME of t1 */
    size_t n_domains;
    struct cb_result_domain *domains;
    size_t n_targets;
    uint32_t *target_ids;    /* as in the frame */
    uint64_t *target_cpu_ns; /* CPU time in the interval; CB_STAT_ABSENT: not known */
    uint64_t machine_cpu_ns; /* of the whole machine; CB_STAT_ABSENT: not known */
    struct cb_share *shares; /* shares[domain_index * n_targets + target_index] */
    size_t capacity_domains, capacity_targets; /* of the arrays, which are reused */
};

/* sqrt(param^2 + noise^2), rounded up to whole microjoules, never above @bound_uj. */
uint64_t cb_result_halfwidth(double param_uj, double noise_uj, uint64_t bound_uj);

/* Number of entries of `domains` whose parts do not sum exactly: always 0. */
size_t cb_result_violations(const struct cb_result *result);

/* An estimate: the part of the dynamic energy of package and dram that falls on @cpu_ns of the
 * machine's CPU time. It is in a target's share or the system's, and must not be added to them. 0
 * when the machine's CPU time is not known. */
uint64_t cb_result_by_cpu_uj(const struct cb_result *result, uint64_t cpu_ns);

/* Make room; contents become zero. */
int cb_result_reserve(struct cb_result *result, size_t n_domains, size_t n_targets,
                      struct cb_err *err) cb_must_check;
void cb_result_clear(struct cb_result *result);

/* The packed form that stores keep (little-endian, one row a frame; docs/store.md). */
int cb_result_pack(const struct cb_result *result, uint8_t **ret_bytes, size_t *ret_size,
                   struct cb_err *err) cb_must_check; /* free() it */
int cb_result_unpack(const uint8_t *bytes, size_t size, struct cb_result *result,
                     struct cb_err *err) cb_must_check; /* -EBADMSG names the field */

#endif
