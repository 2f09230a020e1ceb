/* SPDX-License-Identifier: Apache-2.0 */
/* recap.c - summing, pure. See recap.h; recap_build.c reads the store, recap_json.c writes JSON. */
#include "formula/recap.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"

static const char *const policy_names[] = {"none", "proportional", "equal"};

int cb_idle_parse(const char *text, enum cb_idle_policy *ret_policy)
{
    for (size_t i = 0; i < sizeof(policy_names) / sizeof(policy_names[0]); i++)
        if (strcmp(text, policy_names[i]) == 0) {
            *ret_policy = (enum cb_idle_policy)i;
            return 0;
        }
    return -EINVAL;
}

const char *cb_idle_name(enum cb_idle_policy policy)
{
    return policy_names[policy];
}

uint64_t cb_idle_share(enum cb_idle_policy policy, uint64_t idle_uj, uint64_t dynamic_uj,
                       uint64_t all_uj, size_t n_targets)
{
    if (policy == CB_IDLE_PROPORTIONAL && all_uj > 0)
        return (uint64_t)((unsigned __int128)idle_uj * dynamic_uj / all_uj);
    if (policy == CB_IDLE_EQUAL && n_targets > 0)
        return idle_uj / n_targets;
    return 0;
}

/* ---- phases ---- */

static void add_phase(struct cb_recap *recap, const char *name, uint64_t begin_ns, uint64_t end_ns)
{
    recap->phases[recap->n_phases++] = (struct cb_recap_phase){
        .name = name,
        .begin_ns = begin_ns,
        .end_ns = end_ns,
        .cpu_ns = CB_STAT_ABSENT,
        .machine_cpu_ns = CB_STAT_ABSENT,
    };
}

void cb_recap_init(struct cb_recap *recap, const struct cb_store_test *test)
{
    *recap = (struct cb_recap){.test = *test};
    if (test->has_warmup)
        add_phase(recap, "warmup", test->warmup_ns,
                  test->has_execution ? test->execution_ns : test->end_ns);
    if (test->has_execution)
        add_phase(recap, "execution", test->execution_ns, test->end_ns);
    else if (!test->has_warmup)
        add_phase(recap, "execution", test->begin_ns, test->end_ns);
}

void cb_recap_empty(struct cb_recap *recap)
{
    for (size_t i = 0; i < recap->n_phases; i++) {
        recap->phases[i].n_domains = 0;
        recap->phases[i].covered_ns = 0;
        recap->phases[i].cpu_ns = recap->phases[i].machine_cpu_ns = CB_STAT_ABSENT;
    }
    for (size_t i = 0; i < recap->n_others; i++)
        recap->others[i].dynamic_uj = 0;
}

void cb_recap_clear(struct cb_recap *recap)
{
    for (size_t i = 0; i < recap->n_phases; i++)
        free(recap->phases[i].domains);
    free(recap->others);
    *recap = (struct cb_recap){0};
}

/* Room for one more of @size bytes in *@array. */
static int grow(void **array, size_t n, size_t *capacity, size_t size, struct cb_err *err)
{
    size_t larger = *capacity ? 2 * *capacity : 8;
    void *moved;

    if (n < *capacity)
        return 0;
    moved = realloc(*array, larger * size);
    if (!moved)
        return cb_err_set(err, ENOMEM, "out of memory for a recap");
    *array = moved;
    *capacity = larger;
    return 0;
}

int cb_recap_other(struct cb_recap *recap, const struct cb_store_target *target, size_t *ret_index,
                   struct cb_err *err)
{
    struct cb_recap_other other = {0};
    int r;

    cb_store_target_identity(target, other.identity);
    (void)snprintf(other.name, sizeof(other.name), "%s", target->name);
    for (size_t i = 0; i < recap->n_others; i++)
        if (strcmp(recap->others[i].identity, other.identity) == 0) {
            *ret_index = i;
            return 0;
        }
    if (recap->n_others >= CB_RECAP_OTHERS_MAX) {
        recap->n_lumped++;
        if (recap->n_others > CB_RECAP_OTHERS_MAX) {
            *ret_index = CB_RECAP_OTHERS_MAX;
            return 0;
        }
        other = (struct cb_recap_other){.identity = ""};
    }
    r = grow((void **)&recap->others, recap->n_others, &recap->capacity_others,
             sizeof(*recap->others), err);
    if (r < 0)
        return r;
    recap->others[recap->n_others] = other;
    *ret_index = recap->n_others++;
    return 0;
}

static int find_domain(struct cb_recap_phase *phase, const struct cb_result_domain *from,
                       struct cb_recap_domain **ret_domain, struct cb_err *err)
{
    int r;

    for (size_t i = 0; i < phase->n_domains; i++) {
        struct cb_recap_domain *domain = &phase->domains[i];

        if (domain->socket == from->socket && domain->domain == from->domain) {
            if (from->source == CB_SOURCE_ESTIMATE)
                domain->source = CB_SOURCE_ESTIMATE;
            *ret_domain = domain;
            return 0;
        }
    }
    r = grow((void **)&phase->domains, phase->n_domains, &phase->capacity, sizeof(*phase->domains),
             err);
    if (r < 0)
        return r;
    *ret_domain = &phase->domains[phase->n_domains++];
    **ret_domain = (struct cb_recap_domain){
        .socket = from->socket, .domain = from->domain, .source = from->source};
    return 0;
}

/* ---- adding one frame ---- */

/* The piece [lo, hi) of a frame that is `length` long, all in ns from its begin. */
struct piece {
    uint64_t lo, hi, length;
};

static uint64_t cumulative(uint64_t value, uint64_t at, uint64_t length)
{
    return (uint64_t)((unsigned __int128)value * at / length);
}

static uint64_t portion(const struct piece *piece, uint64_t value)
{
    return cumulative(value, piece->hi, piece->length) -
           cumulative(value, piece->lo, piece->length);
}

static double fraction(const struct piece *piece)
{
    return (double)(piece->hi - piece->lo) / (double)piece->length;
}

static void add_uncertainty(struct cb_recap_domain *domain, const struct cb_result_domain *from,
                            const struct cb_share *share, double part)
{
    double noise = share->noise_uj * part;
    double cut = (double)share->dynamic_uj * fmin(part, 1 - part);

    domain->param_uj += share->param_uj * part;
    domain->noise2_uj2 += noise * noise + cut * cut;
    if (from->energy_uj > 0)
        domain->source_uj += (double)from->source_uncertainty_uj * part *
                             ((double)share->dynamic_uj / (double)from->energy_uj);
}

static int add_domain(struct cb_recap *recap, struct cb_recap_phase *phase,
                      const struct cb_result *result, size_t d, const size_t *whose,
                      const struct piece *piece, struct cb_err *err)
{
    const struct cb_result_domain *from = &result->domains[d];
    const struct cb_share *shares = result->shares + d * result->n_targets;
    struct cb_recap_domain *domain;
    uint64_t idle = portion(piece, from->idle_uj);
    uint64_t system = portion(piece, from->system_uj);
    uint64_t unattributed = portion(piece, from->unattributed_uj);
    uint64_t mine = 0;
    uint64_t others = 0;
    size_t n_mine = 0;
    int r = find_domain(phase, from, &domain, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < result->n_targets; i++) {
        uint64_t part = portion(piece, shares[i].dynamic_uj);

        if (whose[i] == CB_RECAP_MINE) {
            mine += part;
            n_mine++;
            add_uncertainty(domain, from, &shares[i], fraction(piece));
        } else {
            others += part;
            if (cb_domain_is_top((enum cb_domain)from->domain))
                recap->others[whose[i]].dynamic_uj += part;
        }
    }
    domain->energy_uj += mine + others + system + idle + unattributed;
    domain->dynamic_uj += mine;
    domain->others_uj += others;
    domain->system_uj += system;
    domain->idle_uj += idle;
    domain->unattributed_uj += unattributed;
    domain->idle_proportional_uj +=
        cb_idle_share(CB_IDLE_PROPORTIONAL, idle, mine, mine + others + system, result->n_targets);
    domain->idle_equal_uj += n_mine * cb_idle_share(CB_IDLE_EQUAL, idle, mine,
                                                    mine + others + system, result->n_targets);
    return 0;
}

static void add_known(uint64_t *sum, uint64_t value, const struct piece *piece)
{
    if (value != CB_STAT_ABSENT)
        *sum = (*sum == CB_STAT_ABSENT ? 0 : *sum) + portion(piece, value);
}

static int add_to_phase(struct cb_recap *recap, struct cb_recap_phase *phase,
                        const struct cb_result *result, const size_t *whose, struct cb_err *err)
{
    uint64_t begin = phase->begin_ns > result->t0_ns ? phase->begin_ns : result->t0_ns;
    uint64_t end = phase->end_ns < result->t1_ns ? phase->end_ns : result->t1_ns;
    struct piece piece;

    if (begin >= end)
        return 0;
    piece = (struct piece){.lo = begin - result->t0_ns,
                           .hi = end - result->t0_ns,
                           .length = result->t1_ns - result->t0_ns};
    phase->covered_ns += end - begin;
    add_known(&phase->machine_cpu_ns, result->machine_cpu_ns, &piece);
    for (size_t i = 0; i < result->n_targets; i++)
        if (whose[i] == CB_RECAP_MINE)
            add_known(&phase->cpu_ns, result->target_cpu_ns[i], &piece);
    for (size_t d = 0; d < result->n_domains; d++) {
        int r = add_domain(recap, phase, result, d, whose, &piece, err);

        if (r < 0)
            return r;
    }
    return 0;
}

int cb_recap_add(struct cb_recap *recap, const struct cb_result *result, const size_t *whose,
                 struct cb_err *err)
{
    for (size_t i = 0; i < recap->n_phases; i++) {
        int r = add_to_phase(recap, &recap->phases[i], result, whose, err);

        if (r < 0)
            return r;
    }
    return 0;
}

uint64_t cb_recap_uncertainty(const struct cb_recap_domain *domain)
{
    double model = hypot(domain->param_uj, domain->source_uj);
    uint64_t bound = domain->energy_uj + (uint64_t)domain->source_uj;

    return cb_result_halfwidth(model, sqrt(domain->noise2_uj2), bound);
}

const char *cb_recap_source(const struct cb_recap *recap)
{
    const char *source = NULL;

    for (size_t i = 0; i < recap->n_phases; i++)
        for (size_t d = 0; d < recap->phases[i].n_domains; d++) {
            enum cb_source one = (enum cb_source)recap->phases[i].domains[d].source;

            if (!source || one == CB_SOURCE_ESTIMATE)
                source = cb_source_name(one);
        }
    return source ? source : "none";
}
