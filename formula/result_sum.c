/* SPDX-License-Identifier: Apache-2.0 */
/* result_sum.c - see result_sum.h. */
#include "formula/result_sum.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "lib/err.h"

bool cb_result_sum_fits(const struct cb_result_sum *sum, const struct cb_result *next)
{
    const struct cb_result *to = &sum->result;

    if (to->t1_ns == 0)
        return true;
    if (to->t1_ns != next->t0_ns || to->n_domains != next->n_domains)
        return false;
    for (size_t d = 0; d < to->n_domains; d++)
        if (to->domains[d].socket != next->domains[d].socket ||
            to->domains[d].domain != next->domains[d].domain ||
            to->domains[d].source != next->domains[d].source)
            return false;
    return true;
}

/* Room for the targets of @next that are new: the shares are laid out anew. */
static int make_room(struct cb_result_sum *sum, const struct cb_result *next, struct cb_err *err)
{
    struct cb_result *to = &sum->result;
    struct cb_result wider = {0};
    size_t n = to->n_targets;
    uint64_t place;
    int r;

    for (size_t i = 0; i < next->n_targets; i++)
        if (!cb_map_get(&sum->places, next->target_ids[i], &place) &&
            cb_map_put(&sum->places, next->target_ids[i], n++) < 0)
            return cb_err_set(err, ENOMEM, "out of memory");
    if (n == to->n_targets)
        return 0;
    r = cb_result_reserve(&wider, to->n_domains, n, err);
    if (r < 0)
        return r;
    memcpy(wider.domains, to->domains, to->n_domains * sizeof(*to->domains));
    for (size_t i = 0; i < n; i++)
        wider.target_cpu_ns[i] = i < to->n_targets ? to->target_cpu_ns[i] : CB_STAT_ABSENT;
    for (size_t i = 0; i < to->n_targets; i++)
        wider.target_ids[i] = to->target_ids[i];
    for (size_t i = 0; i < next->n_targets; i++)
        if (cb_map_get(&sum->places, next->target_ids[i], &place))
            wider.target_ids[place] = next->target_ids[i];
    for (size_t d = 0; d < to->n_domains; d++)
        for (size_t i = 0; i < to->n_targets; i++)
            wider.shares[d * n + i] = to->shares[d * to->n_targets + i];
    wider.t0_ns = to->t0_ns;
    wider.t1_ns = to->t1_ns;
    wider.wall_ns = to->wall_ns;
    wider.machine_cpu_ns = to->machine_cpu_ns;
    cb_result_clear(to);
    *to = wider;
    return 0;
}

static int begin(struct cb_result_sum *sum, const struct cb_result *first, struct cb_err *err)
{
    struct cb_result *to = &sum->result;
    int r = cb_result_reserve(to, first->n_domains, 0, err);

    if (r < 0)
        return r;
    for (size_t d = 0; d < first->n_domains; d++)
        to->domains[d] = (struct cb_result_domain){.socket = first->domains[d].socket,
                                                   .domain = first->domains[d].domain,
                                                   .source = first->domains[d].source,
                                                   .predicted_w = first->domains[d].predicted_w};
    to->t0_ns = to->t1_ns = first->t0_ns;
    to->machine_cpu_ns = CB_STAT_ABSENT;
    return 0;
}

static float quadrature(float a, float b)
{
    return (float)hypot(a, b);
}

static void add_domain(struct cb_result_domain *to, const struct cb_result_domain *from,
                       double before_ns, double ns)
{
    to->flags |= from->flags;
    to->energy_uj += from->energy_uj;
    to->idle_uj += from->idle_uj;
    to->system_uj += from->system_uj;
    to->unattributed_uj += from->unattributed_uj;
    to->source_uncertainty_uj += from->source_uncertainty_uj;
    to->system_param_uj += from->system_param_uj;
    to->system_noise_uj = quadrature(to->system_noise_uj, from->system_noise_uj);
    to->idle_param_uj += from->idle_param_uj;
    to->idle_noise_uj = quadrature(to->idle_noise_uj, from->idle_noise_uj);
    to->predicted_w = (to->predicted_w * before_ns + from->predicted_w * ns) / (before_ns + ns);
}

static void add_known(uint64_t *to, uint64_t value)
{
    if (value != CB_STAT_ABSENT)
        *to = (*to == CB_STAT_ABSENT ? 0 : *to) + value;
}

static void add_target(struct cb_result *to, size_t place, const struct cb_result *next, size_t i)
{
    add_known(&to->target_cpu_ns[place], next->target_cpu_ns[i]);
    for (size_t d = 0; d < to->n_domains; d++) {
        struct cb_share *share = &to->shares[d * to->n_targets + place];
        const struct cb_share *from = &next->shares[d * next->n_targets + i];

        share->dynamic_uj += from->dynamic_uj;
        share->param_uj += from->param_uj;
        share->noise_uj = quadrature(share->noise_uj, from->noise_uj);
    }
}

int cb_result_sum_add(struct cb_result_sum *sum, const struct cb_result *next, struct cb_err *err)
{
    struct cb_result *to = &sum->result;
    int r = to->t1_ns == 0 ? begin(sum, next, err) : 0;
    uint64_t place;

    if (r == 0)
        r = make_room(sum, next, err);
    if (r < 0)
        return r;
    for (size_t d = 0; d < to->n_domains; d++)
        add_domain(&to->domains[d], &next->domains[d], (double)(to->t1_ns - to->t0_ns),
                   (double)(next->t1_ns - next->t0_ns));
    for (size_t i = 0; i < next->n_targets; i++)
        if (cb_map_get(&sum->places, next->target_ids[i], &place))
            add_target(to, (size_t)place, next, i);
    add_known(&to->machine_cpu_ns, next->machine_cpu_ns);
    to->t1_ns = next->t1_ns;
    to->wall_ns = next->wall_ns;
    return 0;
}

void cb_result_sum_clear(struct cb_result_sum *sum)
{
    cb_result_clear(&sum->result);
    cb_map_clear(&sum->places);
    *sum = (struct cb_result_sum){0};
}
