/* SPDX-License-Identifier: Apache-2.0 */
/* power.c - see power.h. */
#include "formula/power.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"

#define ID_PREFIX_MIN 8

static int read_target(struct cb_names *names, int64_t start, uint32_t id,
                       struct cb_store_target *ret_target, struct cb_err *err)
{
    int r = cb_store_target(names->store, start, id, ret_target, err);

    if (r != -ENOENT)
        return r;
    *ret_target = (struct cb_store_target){.start = start, .target = id};
    (void)snprintf(ret_target->name, sizeof(ret_target->name), "target %u", id);
    return 0;
}

int cb_names_get(struct cb_names *names, int64_t start, uint32_t id,
                 const struct cb_store_target **ret_target, struct cb_err *err)
{
    uint64_t key = cb_map_target_key(start, id);
    uint64_t place;
    int r;

    if (cb_map_get(&names->places, key, &place)) {
        *ret_target = &names->targets[place];
        return 0;
    }
    if (names->n == names->capacity) {
        size_t larger = names->capacity ? 2 * names->capacity : 32;
        struct cb_store_target *moved = realloc(names->targets, larger * sizeof(*moved));

        if (!moved)
            return cb_err_set(err, ENOMEM, "out of memory");
        names->targets = moved;
        names->capacity = larger;
    }
    r = read_target(names, start, id, &names->targets[names->n], err);
    if (r == 0 && cb_map_put(&names->places, key, names->n) < 0)
        r = cb_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        *ret_target = &names->targets[names->n++];
    return r;
}

void cb_names_clear(struct cb_names *names)
{
    cb_map_clear(&names->places);
    free(names->targets);
    *names = (struct cb_names){0};
}

bool cb_names_match(const struct cb_store_target *target, const char *text)
{
    size_t n = strlen(text);

    return strcmp(target->name, text) == 0 || strcmp(target->cgroup, text) == 0 ||
           (n >= ID_PREFIX_MIN && strncmp(target->container_id, text, n) == 0);
}

uint64_t cb_share_uncertainty(const struct cb_result_domain *domain, const struct cb_share *share)
{
    double source = 0;

    if (domain->energy_uj > 0)
        source = (double)domain->source_uncertainty_uj *
                 ((double)share->dynamic_uj / (double)domain->energy_uj);
    return cb_result_halfwidth(hypot(share->param_uj, source), share->noise_uj,
                               domain->energy_uj + domain->source_uncertainty_uj);
}

uint64_t cb_share_idle(enum cb_idle_policy policy, const struct cb_result *result, size_t d,
                       size_t i)
{
    const struct cb_result_domain *domain = &result->domains[d];

    return cb_idle_share(
        policy, domain->idle_uj, result->shares[d * result->n_targets + i].dynamic_uj,
        domain->energy_uj - domain->idle_uj - domain->unattributed_uj, result->n_targets);
}
