/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recap.h - what one test used: the stored results between its marks, split into phases, summed.
 *
 * Exact     Every part of every frame is split at a phase border by the floor of its cumulative
 *           share of the frame's time, and energy_uj is the sum of the parts so split. So for each
 *           phase and domain
 *               energy == dynamic + others + system + idle + unattributed
 *           and phases that touch neither lose nor double a microjoule.
 * Phases    Without marks one, `execution`, from begin to end. With both: warmup [warmup,
 *           execution) and execution [execution, end). With the execution mark only: execution
 *           [execution, end). With the warm-up mark only: warmup [warmup, end).
 * Idle      idle_share_uj is what a policy gives this container of idle_uj, frame by frame:
 *           proportional  in proportion to dynamic energy among all containers and system
 *           equal         in equal parts among the targets of the frame
 *           A part of idle_uj, never added to the sum.
 * Uncertainty  Half-width of the 95 % interval of dynamic_uj: the model's parameters and the
 *           energy source's own uncertainty add up linearly from frame to frame, the noise of
 *           the frames in quadrature. A frame cut at a border adds the smaller of its two pieces as
 *           noise: when within the frame the energy was used is not known.
 * Damage    A frame whose result cannot be read is passed over: its time counts as not covered.
 * Errors    -ENOMEM, what the store says.
 */
#ifndef CB_FORMULA_RECAP_H
#define CB_FORMULA_RECAP_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "formula/result.h"
#include "formula/store.h"
#include "lib/cleanup.h"

enum cb_idle_policy { CB_IDLE_NONE, CB_IDLE_PROPORTIONAL, CB_IDLE_EQUAL };

int cb_idle_parse(const char *text, enum cb_idle_policy *ret_policy) cb_must_check;
const char *cb_idle_name(enum cb_idle_policy policy);

/* What @policy gives a container that used @dynamic_uj of @all_uj (containers and system) as one of
 * @n_targets. Floored, so that the shares never exceed @idle_uj. */
uint64_t cb_idle_share(enum cb_idle_policy policy, uint64_t idle_uj, uint64_t dynamic_uj,
                       uint64_t all_uj, size_t n_targets);

struct cb_recap_domain {
    uint16_t socket;
    uint8_t domain, source;
    uint64_t energy_uj;
    uint64_t dynamic_uj, others_uj, system_uj, idle_uj, unattributed_uj;
    uint64_t idle_proportional_uj, idle_equal_uj;
    double param_uj, noise2_uj2, source_uj; /* cb_recap_uncertainty() makes one figure of them */
};

struct cb_recap_phase {
    const char *name; /* "warmup" or "execution" */
    uint64_t begin_ns, end_ns;
    uint64_t begin_wall_ns, end_wall_ns; /* of a test told by wall times, as told; else 0 */
    uint64_t covered_ns;
    uint64_t cpu_ns, machine_cpu_ns; /* CB_STAT_ABSENT: not known */
    size_t n_domains, capacity;
    struct cb_recap_domain *domains;
};

/* Another target that used energy during the test; its sum over both phases, package and dram. What
 * is beyond CB_RECAP_OTHERS_MAX of them is one entry more, without identity and name. */
#define CB_RECAP_OTHERS_MAX 20000
struct cb_recap_other {
    char identity[CB_STORE_TEXT_SIZE];
    char name[CB_STORE_TEXT_SIZE];
    uint64_t dynamic_uj;
};

struct cb_recap {
    struct cb_store_test test;
    uint64_t begin_wall_ns, end_wall_ns;
    size_t n_phases;
    struct cb_recap_phase phases[2];
    size_t n_others, capacity_others;
    size_t n_lumped; /* targets in the entry without identity */
    struct cb_recap_other *others;
    size_t n_damaged; /* frames that were passed over */
};

/* Whose a target of a result is. */
#define CB_RECAP_MINE SIZE_MAX
/* else the index of its cb_recap_other */

void cb_recap_init(struct cb_recap *recap, const struct cb_store_test *test);
void cb_recap_clear(struct cb_recap *recap);
/* All sums become zero; the other targets keep their places. */
void cb_recap_empty(struct cb_recap *recap);

/* Find or make the entry of a target that is not the test's own; each target is asked for once. */
int cb_recap_other(struct cb_recap *recap, const struct cb_store_target *target, size_t *ret_index,
                   struct cb_err *err) cb_must_check;

/* Add one frame's result; @whose[i] for each of its targets. */
int cb_recap_add(struct cb_recap *recap, const struct cb_result *result, const size_t *whose,
                 struct cb_err *err) cb_must_check;

uint64_t cb_recap_uncertainty(const struct cb_recap_domain *domain);

/* "perf", ..., "estimate" as soon as one domain is an estimate, "none" without any energy. */
const char *cb_recap_source(const struct cb_recap *recap);

/* All of it from the store. */
int cb_recap_build(struct cb_store *store, const struct cb_store_test *test,
                   struct cb_recap *ret_recap, struct cb_err *err) cb_must_check;

/* The same frame by frame: @tick holds the part of one frame that lies within the test, and its
 * end_wall_ns. The ticks' sums are the recap's. */
typedef int cb_recap_each_tick(void *context, const struct cb_recap *tick, struct cb_err *err);
int cb_recap_ticks(struct cb_store *store, const struct cb_store_test *test,
                   cb_recap_each_tick *each, void *context, struct cb_err *err) cb_must_check;

/* The form that is stored: the recap of docs/design.md with idle_policy "none", plus the members
 * test, begin_wall_ns, end_wall_ns and, in each domain, idle_shares_uj with what each policy would
 * give. NULL: out of memory. */
json_t *cb_recap_to_json(const struct cb_recap *recap);

/* Turn the stored form into the one that is told, with one policy. */
int cb_recap_tell(json_t *stored, enum cb_idle_policy policy, struct cb_err *err) cb_must_check;

/* Make and store the recap of a test that is covered, unless it is there; put it on the queues. */
int cb_recap_finish(struct cb_store *store, const struct cb_store_test *test,
                    const char *const *sinks, size_t n_sinks, struct cb_err *err) cb_must_check;

#endif
