/* SPDX-License-Identifier: Apache-2.0 */
/* test_result.c - formula/result.c: the sums, the half-width and the packed form. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "formula/result.h"
#include "lib/err.h"
#include "tests/support/fault.h"

static void fill(struct cb_result *result)
{
    assert_int_equal(cb_result_reserve(result, 2, 3, NULL), 0);
    result->t0_ns = 1000000000;
    result->t1_ns = 2000000123;
    result->wall_ns = UINT64_C(1700000000000000000);
    result->machine_cpu_ns = 1234567890;
    for (size_t d = 0; d < 2; d++) {
        result->domains[d] = (struct cb_result_domain){
            .socket = 1,
            .domain = d ? CB_DOMAIN_DRAM : CB_DOMAIN_PACKAGE,
            .source = CB_SOURCE_ESTIMATE,
            .flags = CB_RESULT_PRIOR | CB_RESULT_GAP,
            .energy_uj = 1000 + 10 + 5 + 6,
            .idle_uj = 1000,
            .system_uj = 10,
            .unattributed_uj = 5,
            .source_uncertainty_uj = UINT64_MAX,
            .system_param_uj = 1.5F,
            .system_noise_uj = 2.5F,
            .idle_param_uj = 3.5F,
            .idle_noise_uj = 4.5F,
            .predicted_w = d ? (double)NAN : 12.25,
        };
        for (size_t i = 0; i < 3; i++)
            result->shares[d * 3 + i] = (struct cb_share){i + 1, 0.25F * (float)i, 7.75F};
    }
    for (uint32_t i = 0; i < 3; i++) {
        result->target_ids[i] = UINT32_MAX - i;
        result->target_cpu_ns[i] = i ? i * UINT64_C(999999999) : CB_STAT_ABSENT;
    }
}

static void the_halfwidth_is_the_root_of_the_squares_rounded_up_and_bounded(void **state)
{
    (void)state;
    assert_int_equal(cb_result_halfwidth(3, 4, 100), 5);
    assert_int_equal(cb_result_halfwidth(3, 4.1, 100), 6);
    assert_int_equal(cb_result_halfwidth(0, 0, 100), 0);
    assert_int_equal(cb_result_halfwidth(300, 400, 100), 100);
    assert_int_equal(cb_result_halfwidth((double)NAN, 1, 100), 100);
    assert_int_equal(cb_result_halfwidth(1, (double)INFINITY, 100), 100);
    assert_int_equal(cb_result_halfwidth(1e300, 1e300, UINT64_MAX), UINT64_MAX);
}

static void counts_the_domains_that_do_not_sum(void **state)
{
    struct cb_result result = {0};

    (void)state;
    fill(&result);
    assert_int_equal(cb_result_violations(&result), 0);
    result.shares[4].dynamic_uj++;
    assert_int_equal(cb_result_violations(&result), 1);
    result.domains[0].idle_uj--;
    assert_int_equal(cb_result_violations(&result), 2);
    result.domains[1].energy_uj++;
    assert_int_equal(cb_result_violations(&result), 1);
    /* a sum that overflows is no equality */
    result.domains[0].idle_uj = UINT64_MAX - 15;
    result.domains[0].energy_uj = 5;
    assert_int_equal(cb_result_violations(&result), 1);
    cb_result_clear(&result);
}

/* Package and dram have 16 of dynamic energy each; the other domain lies inside the package. */
static void a_part_by_cpu_time_is_never_more_than_the_dynamic_energy(void **state)
{
    struct cb_result result = {0};

    (void)state;
    fill(&result);
    for (size_t d = 0; d < 2; d++) {
        result.domains[d].system_uj += 1000;
        result.domains[d].energy_uj += 1000;
    }
    result.machine_cpu_ns = 4000000000;
    assert_int_equal(cb_result_by_cpu_uj(&result, 0), 0);
    assert_int_equal(cb_result_by_cpu_uj(&result, 1000000000), 2 * 1016 / 4);
    assert_int_equal(cb_result_by_cpu_uj(&result, 4000000000), 2 * 1016);
    assert_int_equal(cb_result_by_cpu_uj(&result, UINT64_MAX), 2 * 1016);
    result.domains[1].domain = CB_DOMAIN_CORE;
    assert_int_equal(cb_result_by_cpu_uj(&result, 1000000000), 1016 / 4);
    result.domains[0].energy_uj = result.domains[0].system_uj = UINT64_MAX - 1005;
    result.domains[0].idle_uj = result.domains[0].unattributed_uj = 0;
    assert_true(cb_result_by_cpu_uj(&result, 2000000000) == (UINT64_MAX - 1005) / 2);
    cb_result_clear(&result);
}

static void without_the_machines_cpu_time_there_is_no_part(void **state)
{
    struct cb_result result = {0};

    (void)state;
    fill(&result);
    result.machine_cpu_ns = CB_STAT_ABSENT;
    assert_int_equal(cb_result_by_cpu_uj(&result, UINT64_MAX), 0);
    result.machine_cpu_ns = 0;
    assert_int_equal(cb_result_by_cpu_uj(&result, UINT64_MAX), 0);
    cb_result_clear(&result);
}

static void reserving_again_zeroes_and_keeps_the_room(void **state)
{
    struct cb_result result = {0};
    struct cb_share *shares;

    (void)state;
    fill(&result);
    shares = result.shares;
    assert_int_equal(cb_result_reserve(&result, 1, 2, NULL), 0);
    assert_ptr_equal(result.shares, shares);
    assert_int_equal(result.n_domains, 1);
    assert_int_equal(result.n_targets, 2);
    assert_int_equal(result.t1_ns, 0);
    assert_int_equal(result.domains[0].energy_uj, 0);
    assert_int_equal(result.shares[1].dynamic_uj, 0);
    assert_int_equal(result.target_ids[1], 0);
    assert_int_equal(cb_result_reserve(&result, 0, 0, NULL), 0);
    assert_int_equal(cb_result_reserve(&result, 2, 0, NULL), 0);
    assert_int_equal(cb_result_reserve(&result, 2, 3, NULL), 0);
    assert_ptr_equal(result.shares, shares);
    cb_result_clear(&result);
    cb_result_clear(&result);
}

static void a_failed_allocation_leaves_the_result_as_it_was(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        struct cb_result result = {0};
        struct cb_err err = {0};

        fill(&result);
        fault_arm(k);
        assert_int_equal(cb_result_reserve(&result, 5, 100, &err), -ENOMEM);
        fault_disarm();
        assert_int_equal(err.code, ENOMEM);
        assert_int_equal(result.n_targets, 3);
        assert_int_equal(result.shares[5].dynamic_uj, 3);
        cb_result_clear(&result);
    }
}

static void what_is_packed_comes_back_to_the_last_bit(void **state)
{
    struct cb_result in = {0}, out = {0};
    uint8_t *bytes = NULL, *again = NULL;
    size_t size = 0, size_again = 0;

    (void)state;
    fill(&in);
    assert_int_equal(cb_result_pack(&in, &bytes, &size, NULL), 0);
    assert_int_equal(cb_result_unpack(bytes, size, &out, NULL), 0);
    assert_int_equal(out.t0_ns, in.t0_ns);
    assert_int_equal(out.t1_ns, in.t1_ns);
    assert_int_equal(out.wall_ns, in.wall_ns);
    assert_int_equal(out.machine_cpu_ns, in.machine_cpu_ns);
    assert_int_equal(out.n_domains, 2);
    assert_int_equal(out.n_targets, 3);
    assert_memory_equal(out.target_ids, in.target_ids, 3 * sizeof(*in.target_ids));
    assert_memory_equal(out.target_cpu_ns, in.target_cpu_ns, 3 * sizeof(*in.target_cpu_ns));
    assert_memory_equal(out.shares, in.shares, 6 * sizeof(*in.shares));
    assert_int_equal(out.domains[1].source_uncertainty_uj, UINT64_MAX);
    assert_true(out.domains[0].predicted_w == 12.25);
    assert_true(isnan(out.domains[1].predicted_w));
    assert_int_equal(out.domains[1].flags, in.domains[1].flags);
    assert_true(out.domains[1].idle_noise_uj == 4.5F);
    assert_int_equal(cb_result_pack(&out, &again, &size_again, NULL), 0);
    assert_int_equal(size, size_again);
    assert_memory_equal(bytes, again, size);
    free(bytes);
    free(again);
    cb_result_clear(&in);
    cb_result_clear(&out);
}

static void an_empty_result_packs_too(void **state)
{
    struct cb_result in = {0}, out = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(cb_result_pack(&in, &bytes, &size, NULL), 0);
    assert_int_equal(cb_result_unpack(bytes, size, &out, NULL), 0);
    assert_int_equal(out.n_domains, 0);
    free(bytes);
    cb_result_clear(&out);
}

static void every_truncation_is_refused_by_name(void **state)
{
    struct cb_result in = {0}, out = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;

    (void)state;
    fill(&in);
    assert_int_equal(cb_result_pack(&in, &bytes, &size, NULL), 0);
    for (size_t n = 0; n < size; n++) {
        struct cb_err err = {0};

        assert_int_equal(cb_result_unpack(bytes, n, &out, &err), -EBADMSG);
        assert_non_null(strstr(err.text, "packed result"));
    }
    bytes = realloc(bytes, size + 1);
    assert_non_null(bytes);
    bytes[size] = 0;
    assert_int_equal(cb_result_unpack(bytes, size + 1, &out, NULL), -EBADMSG);
    free(bytes);
    cb_result_clear(&in);
    cb_result_clear(&out);
}

static void refuses_what_no_result_can_hold(void **state)
{
    struct cb_result result = {0}, out = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;

    (void)state;
    for (int what = 0; what < 6; what++) {
        struct cb_err err = {0};
        static const char *const field[] = {"domain",   "source",   "flags",
                                            "param_uj", "noise_uj", "predicted_w"};

        fill(&result);
        if (what == 0)
            result.domains[0].domain = CB_DOMAIN_COUNT;
        if (what == 1)
            result.domains[0].source = CB_SOURCE_COUNT;
        if (what == 2)
            result.domains[0].flags = 1U << 31;
        if (what == 3)
            result.shares[0].param_uj = NAN;
        if (what == 4)
            result.shares[0].noise_uj = -1;
        if (what == 5)
            result.domains[1].predicted_w = (double)INFINITY;
        assert_int_equal(cb_result_pack(&result, &bytes, &size, NULL), 0);
        assert_int_equal(cb_result_unpack(bytes, size, &out, &err), -EBADMSG);
        assert_non_null(strstr(err.text, field[what]));
        free(bytes);
        bytes = NULL;
    }
    cb_result_clear(&result);
    cb_result_clear(&out);
}

static void huge_counts_in_few_bytes_allocate_nothing(void **state)
{
    /* version, t0, t1, wall, cpu, 512 domains, 20000 targets, and no more */
    static const uint8_t bytes[] = {1, 1, 2, 3, 0, 0x80, 0x04, 0xa0, 0x9c, 0x01};
    struct cb_result out = {0};
    struct cb_err err = {0};

    (void)state;
    assert_int_equal(cb_result_unpack(bytes, sizeof(bytes), &out, &err), -EBADMSG);
    assert_null(out.domains);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_halfwidth_is_the_root_of_the_squares_rounded_up_and_bounded),
        cmocka_unit_test(counts_the_domains_that_do_not_sum),
        cmocka_unit_test(a_part_by_cpu_time_is_never_more_than_the_dynamic_energy),
        cmocka_unit_test(without_the_machines_cpu_time_there_is_no_part),
        cmocka_unit_test(reserving_again_zeroes_and_keeps_the_room),
        cmocka_unit_test(a_failed_allocation_leaves_the_result_as_it_was),
        cmocka_unit_test(what_is_packed_comes_back_to_the_last_bit),
        cmocka_unit_test(an_empty_result_packs_too),
        cmocka_unit_test(every_truncation_is_refused_by_name),
        cmocka_unit_test(refuses_what_no_result_can_hold),
        cmocka_unit_test(huge_counts_in_few_bytes_allocate_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
