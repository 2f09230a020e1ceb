/* SPDX-License-Identifier: Apache-2.0 */
/* attribute.c - see attribute.h. */
#include "formula/attribute.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define WEIGHT_BITS 31
#define DIGIT_BITS 8

/* The predictions as integers, the largest one 2^31. Returns their sum (below 2^31 * n). */
static uint64_t weigh(const double *predictions, size_t n, struct cb_attribute_work *work)
{
    double most = 0;
    double scale;
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        most = predictions[i] > most ? predictions[i] : most; /* a NaN is never above */
    if (!(most > 0)) {
        for (size_t i = 0; i < n; i++)
            work[i].weight = 0;
        return 0;
    }
    if (most < 0x1p-900) { /* so that the scale stays finite */
        scale = 0x1p900;
        most *= 0x1p900;
    } else {
        scale = 1;
    }
    for (size_t i = 0; i < n; i++) {
        double p = predictions[i] > 0 ? predictions[i] * scale : 0;
        double part = isinf(most) ? (isinf(p) ? 1 : 0) : p / most;

        work[i].weight = (uint64_t)(part * (double)(UINT64_C(1) << WEIGHT_BITS));
        sum += work[i].weight;
    }
    return sum;
}

/* Every part's floor and remainder. Returns what the floors leave over: fewer than @n. */
static uint64_t floors(uint64_t total_uj, uint64_t sum, size_t n, struct cb_attribute_work *work,
                       uint64_t *parts_uj)
{
    uint64_t left = total_uj;
    bool narrow = total_uj < (UINT64_C(1) << (64 - WEIGHT_BITS - 1));

    for (size_t i = 0; i < n; i++) {
        if (narrow) {
            uint64_t product = total_uj * work[i].weight;

            parts_uj[i] = product / sum;
            work[i].remainder = product % sum;
        } else {
            unsigned __int128 product = (unsigned __int128)total_uj * work[i].weight;

            parts_uj[i] = (uint64_t)(product / sum);
            work[i].remainder = (uint64_t)(product % sum);
        }
        left -= parts_uj[i];
    }
    return left;
}

/* The value of the @k-th largest remainder (k >= 1), digit by digit from the top; *@ret_ties of
 * those equal to it belong to the @k largest. */
static uint64_t kth_largest(const struct cb_attribute_work *work, size_t n, uint64_t sum,
                            uint64_t k, uint64_t *ret_ties)
{
    uint64_t prefix = 0;

    for (int shift = 56; shift >= 0; shift -= DIGIT_BITS) {
        size_t count[1 << DIGIT_BITS] = {0};
        uint64_t digit = (1 << DIGIT_BITS) - 1;

        if (sum >> shift == 0)
            continue; /* all remainders are smaller than the sum */
        for (size_t i = 0; i < n; i++) {
            uint64_t value = work[i].remainder >> shift;

            if (value >> DIGIT_BITS == prefix)
                count[value & digit]++;
        }
        for (; digit > 0 && count[digit] < k; digit--)
            k -= count[digit];
        prefix = prefix << DIGIT_BITS | digit;
    }
    *ret_ties = k;
    return prefix;
}

/* Give 1 to each of the @left largest remainders. */
static void spread(uint64_t left, uint64_t sum, size_t n, const struct cb_attribute_work *work,
                   uint64_t *parts_uj)
{
    uint64_t ties;
    uint64_t threshold = kth_largest(work, n, sum, left, &ties);

    for (size_t i = 0; i < n; i++) {
        if (work[i].remainder > threshold) {
            parts_uj[i]++;
        } else if (work[i].remainder == threshold && ties > 0) {
            parts_uj[i]++;
            ties--;
        }
    }
}

uint64_t cb_attribute(uint64_t total_uj, const double *predictions, size_t n,
                      struct cb_attribute_work *work, uint64_t *ret_parts_uj)
{
    uint64_t sum = weigh(predictions, n, work);
    uint64_t left;

    if (sum == 0) {
        memset(ret_parts_uj, 0, n * sizeof(*ret_parts_uj));
        return 0;
    }
    left = floors(total_uj, sum, n, work, ret_parts_uj);
    if (left > 0)
        spread(left, sum, n, work, ret_parts_uj);
    return total_uj;
}
