/* SPDX-License-Identifier: Apache-2.0 */
/*
 * varint.h - numbers of 7 bits a byte, low bits first, in their shortest form only, so that equal
 * values are equal bytes. Used by the packed forms that the store keeps.
 */
#ifndef CB_FORMULA_VARINT_H
#define CB_FORMULA_VARINT_H

#include <stdbool.h>
#include <stdint.h>

#define CB_VARINT_MAX 10 /* bytes */

static inline uint8_t *cb_varint_put(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* Read at *@at, which moves on; false: malformed, or past @end. */
static inline bool cb_varint_get(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;

        if ((shift == 63 && byte > 1) || (shift > 0 && byte == 0))
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

#endif
