/* SPDX-License-Identifier: Apache-2.0 */
/* map.h - numbers to numbers: open addressing, grows, never shrinks. Start with a zeroed one. */
#ifndef CB_FORMULA_MAP_H
#define CB_FORMULA_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cleanup.h"

struct cb_map {
    size_t n, capacity; /* a power of two, or 0 */
    struct cb_map_entry {
        uint64_t key, value;
        bool used;
    } * entries;
};

/* A target of a sensor start as one key. */
static inline uint64_t cb_map_target_key(int64_t start, uint32_t target)
{
    return (uint64_t)start << 32 | target;
}

bool cb_map_get(const struct cb_map *map, uint64_t key, uint64_t *ret_value);
int cb_map_put(struct cb_map *map, uint64_t key, uint64_t value) cb_must_check; /* -ENOMEM */
void cb_map_clear(struct cb_map *map);

#endif
