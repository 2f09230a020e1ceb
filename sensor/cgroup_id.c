/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup_id.c - see cgroup_id.h. */
#include "sensor/cgroup_id.h"

#include <stddef.h>
#include <string.h>

#define HEX_DIGITS (CB_CONTAINER_ID_SIZE - 1)

static const char *const prefixes[] = {
    "", "docker-", "libpod-", "libpod-payload-", "cri-containerd-", "crio-", "containerd-",
};

static bool is_known_prefix(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strlen(prefixes[i]) == n && memcmp(name, prefixes[i], n) == 0)
            return true;
    return false;
}

bool cb_cgroup_id_parse(const char *name, char ret_id[CB_CONTAINER_ID_SIZE])
{
    static const char scope[] = ".scope";
    size_t n = strlen(name);

    if (n > sizeof(scope) - 1 && strcmp(name + n - (sizeof(scope) - 1), scope) == 0)
        n -= sizeof(scope) - 1;
    if (n < HEX_DIGITS)
        return false;

    const char *id = name + n - HEX_DIGITS;
    size_t before = n - HEX_DIGITS;

    if (strspn(id, "0123456789abcdef") < HEX_DIGITS)
        return false;
    if (!(before > 0 && name[before - 1] == ':') && !is_known_prefix(name, before))
        return false;
    memcpy(ret_id, id, HEX_DIGITS);
    ret_id[HEX_DIGITS] = '\0';
    return true;
}
