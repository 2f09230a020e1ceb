/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attribute.h - share a whole number out in proportion to predictions, exactly.
 *
 * Largest remainder: every part gets the floor of its exact share, what is left goes one by one to
 * the largest remainders, the lower index first where they are equal. Integer arithmetic; the same
 * input gives the same parts everywhere. The predictions are taken to 31 bits of the largest one.
 */
#ifndef CB_FORMULA_ATTRIBUTE_H
#define CB_FORMULA_ATTRIBUTE_H

#include <stddef.h>
#include <stdint.h>

struct cb_attribute_work {
    uint64_t weight;
    uint64_t remainder;
};

/*
 * Share @total_uj over @n parts in proportion to @predictions. A negative prediction or a NaN
 * counts as 0; beside an infinite one every finite one counts as 0. @work has room for @n.
 *
 * Returns what was shared out: @total_uj, or 0 (and every part 0) when no prediction is above 0.
 */
uint64_t cb_attribute(uint64_t total_uj, const double *predictions, size_t n,
                      struct cb_attribute_work *work, uint64_t *ret_parts_uj);

#endif
