/* SPDX-License-Identifier: Apache-2.0 */
/* test_attribute.c - formula/attribute.c: the parts always sum, whatever the predictions are. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formula/attribute.h"

#define MAX_N 400

static uint64_t random_state = 20240607;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t share(uint64_t total_uj, const double *predictions, size_t n, uint64_t *parts_uj)
{
    struct cb_attribute_work work[MAX_N];

    memset(parts_uj, 0xff, n * sizeof(*parts_uj));
    return cb_attribute(total_uj, predictions, n, work, parts_uj);
}

static void gives_the_leftover_to_the_largest_remainders(void **state)
{
    const double predictions[] = {1, 2, 4};
    uint64_t parts[3];

    (void)state;
    assert_int_equal(share(10, predictions, 3, parts), 10); /* 1.43, 2.86, 5.71 */
    assert_int_equal(parts[0], 1);
    assert_int_equal(parts[1], 3);
    assert_int_equal(parts[2], 6);
}

static void equal_remainders_go_to_the_lower_index(void **state)
{
    const double predictions[] = {5, 5, 5, 5};
    uint64_t parts[4];

    (void)state;
    assert_int_equal(share(6, predictions, 4, parts), 6);
    assert_int_equal(parts[0], 2);
    assert_int_equal(parts[1], 2);
    assert_int_equal(parts[2], 1);
    assert_int_equal(parts[3], 1);
}

static void shares_nothing_without_a_positive_prediction(void **state)
{
    const double predictions[] = {0, -1, (double)NAN, -(double)INFINITY};
    uint64_t parts[4];

    (void)state;
    assert_int_equal(share(1000, predictions, 4, parts), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(parts[i], 0);
    assert_int_equal(share(1000, predictions, 0, parts), 0);
}

static void an_infinite_prediction_takes_all(void **state)
{
    const double predictions[] = {1e300, (double)INFINITY, 3, (double)INFINITY};
    uint64_t parts[4];

    (void)state;
    assert_int_equal(share(7, predictions, 4, parts), 7);
    assert_int_equal(parts[0], 0);
    assert_int_equal(parts[1], 4);
    assert_int_equal(parts[2], 0);
    assert_int_equal(parts[3], 3);
}

static void the_scale_of_the_predictions_does_not_matter(void **state)
{
    static const double scales[] = {4.9e-324, 1e-310, 1e-200, 1, 1e200, 1e308};

    (void)state;
    for (size_t s = 0; s < sizeof(scales) / sizeof(scales[0]); s++) {
        const double predictions[] = {scales[s], 0, scales[s]};
        uint64_t parts[3];

        assert_int_equal(share(1000, predictions, 3, parts), 1000);
        assert_int_equal(parts[0], 500);
        assert_int_equal(parts[2], 500);
    }
}

static double random_prediction(void)
{
    switch (random_u64() % 12) {
    case 0:
        return 0;
    case 1:
        return (double)NAN;
    case 2:
        return random_u64() % 20 ? 1 : (double)INFINITY;
    case 3:
        return -(double)(random_u64() % 1000);
    case 4:
        return ldexp((double)(random_u64() >> 12), (int)(random_u64() % 2000) - 1070);
    case 5:
        return 1;
    default:
        return (double)(random_u64() % 1000000) / 1000;
    }
}

static void check_against_exact_shares(uint64_t total, const double *predictions, size_t n,
                                       const uint64_t *parts)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += predictions[i] > 0 ? predictions[i] : 0;
    if (!isfinite(sum))
        return;
    for (size_t i = 0; i < n; i++) {
        double exact = predictions[i] > 0 ? (double)total * (predictions[i] / sum) : 0;

        /* 31 bits of the largest prediction, n of them, and the rounding itself */
        assert_true(fabs((double)parts[i] - exact) <=
                    1 + (double)total * (double)(n + 1) * 0x1p-31);
    }
}

static void thirty_thousand_random_cases_always_sum(void **state)
{
    static double predictions[MAX_N];
    static uint64_t parts[MAX_N];

    (void)state;
    for (int round = 0; round < 30000; round++) {
        size_t n = random_u64() % (round % 10 ? 8 : MAX_N);
        uint64_t total = random_u64() >> (random_u64() % 64), sum = 0;
        int any = 0;

        for (size_t i = 0; i < n; i++) {
            predictions[i] = random_prediction();
            any |= predictions[i] > 0;
        }
        uint64_t shared = share(total, predictions, n, parts);

        for (size_t i = 0; i < n; i++) {
            sum += parts[i];
            if (!(predictions[i] > 0))
                assert_int_equal(parts[i], 0);
        }
        assert_int_equal(sum, shared);
        assert_int_equal(shared, any ? total : 0);
        check_against_exact_shares(total, predictions, n, parts);
    }
}

/* The textbook way, with exact comparisons, for small numbers. */
static void slow_largest_remainder(uint64_t total, const double *predictions, size_t n,
                                   uint64_t *parts)
{
    uint64_t sum = 0, left = total;
    uint64_t rest[16];

    for (size_t i = 0; i < n; i++)
        sum += (uint64_t)predictions[i];
    for (size_t i = 0; i < n; i++) {
        parts[i] = total * (uint64_t)predictions[i] / sum;
        rest[i] = total * (uint64_t)predictions[i] % sum;
        left -= parts[i];
    }
    for (; left > 0; left--) {
        size_t best = 0;

        for (size_t i = 1; i < n; i++) {
            if (rest[i] > rest[best])
                best = i;
        }
        parts[best]++;
        rest[best] = 0;
    }
}

static void agrees_with_the_textbook_algorithm(void **state)
{
    (void)state;
    for (int round = 0; round < 10000; round++) {
        size_t n = 1 + random_u64() % 16;
        uint64_t total = random_u64() % 100000;
        double predictions[16];
        uint64_t parts[16], expected[16];

        /* powers of two and a largest of 2^k: their 31 bits are exact */
        for (size_t i = 0; i < n; i++)
            predictions[i] = (double)(1 + random_u64() % 1024);
        predictions[0] = 1024;
        slow_largest_remainder(total, predictions, n, expected);
        assert_int_equal(share(total, predictions, n, parts), total);
        assert_memory_equal(parts, expected, n * sizeof(*parts));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_leftover_to_the_largest_remainders),
        cmocka_unit_test(equal_remainders_go_to_the_lower_index),
        cmocka_unit_test(shares_nothing_without_a_positive_prediction),
        cmocka_unit_test(an_infinite_prediction_takes_all),
        cmocka_unit_test(the_scale_of_the_predictions_does_not_matter),
        cmocka_unit_test(thirty_thousand_random_cases_always_sum),
        cmocka_unit_test(agrees_with_the_textbook_algorithm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
