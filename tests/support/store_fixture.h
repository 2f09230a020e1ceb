/* SPDX-License-Identifier: Apache-2.0 */
/* store_fixture.h - a store in a scratch directory and random results for it. */
#ifndef CB_TESTS_STORE_FIXTURE_H
#define CB_TESTS_STORE_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "formula/result.h"
#include "formula/store.h"
#include "tests/support/fake_root.h"

#define FIXTURE_BOOT "11111111-2222-3333-4444-555555555555"
#define FIXTURE_START "0123456789abcdef0123456789abcdef"
#define FIXTURE_ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define FIXTURE_ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

struct store_fixture {
    struct fake_root *root;
    char path[128];
    struct cb_store *store;
};

/* cmocka fixtures: *state becomes a struct store_fixture with an open store of its own. */
int store_fixture_setup(void **state);
int store_fixture_teardown(void **state);

/* A machine "node1" with FIXTURE_BOOT and FIXTURE_START, targets 1 (FIXTURE_ID_A, "alpha") and 2
 * (FIXTURE_ID_B, "beta"). */
struct cb_store_start store_fixture_start(struct cb_store *store);

/* Numbers that are the same in every run. */
uint64_t fixture_random(uint64_t *seed, uint64_t below);

/* A result with random parts that sum exactly; targets get the ids 1, 2, ... */
void fixture_result(struct cb_result *result, uint64_t *seed, uint64_t t0_ns, uint64_t t1_ns,
                    size_t n_domains, size_t n_targets);

/* Pack and store it as a frame of @start; its wall time is t1 + FIXTURE_WALL_OFFSET. */
#define FIXTURE_WALL_OFFSET UINT64_C(1700000000000000000)
void fixture_put(struct cb_store *store, const struct cb_store_start *start, uint64_t seq,
                 const struct cb_result *result);

#endif
