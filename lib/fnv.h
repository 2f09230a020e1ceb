/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fnv.h - FNV-1a of 64 bits: the same on every machine, for tables and for names that are cut. Who
 * chooses what is hashed can make two of them equal: where that does harm, compare the texts, too.
 */
#ifndef CB_LIB_FNV_H
#define CB_LIB_FNV_H

#include <stddef.h>
#include <stdint.h>

#define CB_FNV_BEGIN UINT64_C(0xcbf29ce484222325)

/* @hash: CB_FNV_BEGIN, or of what comes before. */
static inline uint64_t cb_fnv_byte(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

static inline uint64_t cb_fnv_text(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = cb_fnv_byte(hash, (uint8_t)*text);
    return hash;
}

#endif
