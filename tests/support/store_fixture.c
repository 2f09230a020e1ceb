/* SPDX-License-Identifier: Apache-2.0 */
/* store_fixture.c - see store_fixture.h. */
#include "tests/support/store_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"

static void must(int r, const struct cb_err *err)
{
    if (r < 0) {
        (void)fprintf(stderr, "store fixture: %s\n", err->text);
        abort();
    }
}

int store_fixture_setup(void **state)
{
    struct store_fixture *f = calloc(1, sizeof(*f));
    struct cb_err err = {0};
    void *root = NULL;

    if (!f || fake_root_setup(&root) != 0)
        abort();
    f->root = root;
    (void)snprintf(f->path, sizeof(f->path), "%s/test.sqlite", f->root->dir);
    must(cb_store_open(f->path, CB_STORE_OWNER, &f->store, &err), &err);
    *state = f;
    return 0;
}

int store_fixture_teardown(void **state)
{
    struct store_fixture *f = *state;
    void *root = f->root;

    f->store = cb_store_close(f->store);
    free(f);
    return fake_root_teardown(&root);
}

struct cb_store_start store_fixture_start(struct cb_store *store)
{
    struct cb_store_machine machine;
    struct cb_store_start start;
    struct cb_store_target target = {.target = 1, .known = true};
    struct cb_err err = {0};

    must(cb_store_machine(store, "node1", &machine, &err), &err);
    must(cb_store_start(store, machine.id, FIXTURE_BOOT, FIXTURE_START, 1, &start, &err), &err);
    target.start = start.id;
    (void)snprintf(target.container_id, sizeof(target.container_id), FIXTURE_ID_A);
    (void)snprintf(target.name, sizeof(target.name), "alpha");
    (void)snprintf(target.image, sizeof(target.image), "img/alpha");
    must(cb_store_put_target(store, &target, "{}", &err), &err);
    target.target = 2;
    (void)snprintf(target.container_id, sizeof(target.container_id), FIXTURE_ID_B);
    (void)snprintf(target.name, sizeof(target.name), "beta");
    must(cb_store_put_target(store, &target, NULL, &err), &err);
    return start;
}

uint64_t fixture_random(uint64_t *seed, uint64_t below)
{
    uint64_t x = *seed += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return below ? x % below : x;
}

void fixture_result(struct cb_result *result, uint64_t *seed, uint64_t t0_ns, uint64_t t1_ns,
                    size_t n_domains, size_t n_targets)
{
    struct cb_err err = {0};

    must(cb_result_reserve(result, n_domains, n_targets, &err), &err);
    result->t0_ns = t0_ns;
    result->t1_ns = t1_ns;
    result->wall_ns = t1_ns + FIXTURE_WALL_OFFSET;
    result->machine_cpu_ns = fixture_random(seed, 2 * (t1_ns - t0_ns));
    for (size_t t = 0; t < n_targets; t++) {
        result->target_ids[t] = (uint32_t)t + 1;
        result->target_cpu_ns[t] = fixture_random(seed, t1_ns - t0_ns);
    }
    for (size_t d = 0; d < n_domains; d++) {
        struct cb_result_domain *domain = &result->domains[d];

        domain->socket = (uint16_t)(d / 2);
        domain->domain = d % 2 ? CB_DOMAIN_DRAM : CB_DOMAIN_PACKAGE;
        domain->source = CB_SOURCE_PERF;
        domain->idle_uj = fixture_random(seed, 30000000);
        domain->system_uj = fixture_random(seed, 3000000);
        domain->unattributed_uj = fixture_random(seed, 3);
        domain->source_uncertainty_uj = 61;
        domain->energy_uj = domain->idle_uj + domain->system_uj + domain->unattributed_uj;
        for (size_t t = 0; t < n_targets; t++) {
            struct cb_share *share = &result->shares[d * n_targets + t];

            share->dynamic_uj = fixture_random(seed, 20000000);
            share->param_uj = (float)share->dynamic_uj / 20;
            share->noise_uj = (float)share->dynamic_uj / 10;
            domain->energy_uj += share->dynamic_uj;
        }
    }
}

void fixture_put(struct cb_store *store, const struct cb_store_start *start, uint64_t seq,
                 const struct cb_result *result)
{
    struct cb_store_frame frame = {.start = start->id,
                                   .boot = start->boot,
                                   .seq = seq,
                                   .t0_ns = result->t0_ns,
                                   .t1_ns = result->t1_ns,
                                   .wall_ns = result->wall_ns};
    struct cb_err err = {0};
    uint8_t *bytes = NULL;

    must(cb_result_pack(result, &bytes, &frame.result_size, &err), &err);
    frame.result = bytes;
    must(cb_store_put_frame(store, &frame, result->wall_ns, NULL, &err), &err);
    free(bytes);
}
