/* SPDX-License-Identifier: Apache-2.0 */
/* map.c - see map.h. */
#include "formula/map.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY 64

/* The finalizer of splitmix64: every bit of the key reaches the low bits. */
static size_t hash(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (size_t)(x ^ (x >> 31));
}

/* The entry of @key, or the free one where it belongs. */
static struct cb_map_entry *place(const struct cb_map *map, uint64_t key)
{
    size_t i = hash(key) & (map->capacity - 1);

    while (map->entries[i].used && map->entries[i].key != key)
        i = (i + 1) & (map->capacity - 1);
    return &map->entries[i];
}

bool cb_map_get(const struct cb_map *map, uint64_t key, uint64_t *ret_value)
{
    const struct cb_map_entry *entry;

    if (map->n == 0)
        return false;
    entry = place(map, key);
    if (!entry->used)
        return false;
    *ret_value = entry->value;
    return true;
}

static int grow(struct cb_map *map)
{
    struct cb_map larger = {.capacity = map->capacity ? 2 * map->capacity : FIRST_CAPACITY};

    larger.entries = calloc(larger.capacity, sizeof(*larger.entries));
    if (!larger.entries)
        return -ENOMEM;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->entries[i].used) {
            *place(&larger, map->entries[i].key) = map->entries[i];
            larger.n++;
        }
    free(map->entries);
    *map = larger;
    return 0;
}

int cb_map_put(struct cb_map *map, uint64_t key, uint64_t value)
{
    struct cb_map_entry *entry;

    if (2 * (map->n + 1) > map->capacity) {
        int r = grow(map);

        if (r < 0)
            return r;
    }
    entry = place(map, key);
    if (!entry->used)
        map->n++;
    *entry = (struct cb_map_entry){.key = key, .value = value, .used = true};
    return 0;
}

void cb_map_clear(struct cb_map *map)
{
    free(map->entries);
    *map = (struct cb_map){0};
}
