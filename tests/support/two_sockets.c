/* SPDX-License-Identifier: Apache-2.0 */
/* two_sockets.c - see two_sockets.h. */
#include "tests/support/two_sockets.h"

struct cb_topology two_sockets_topology(void)
{
    static uint32_t cpus[] = {0, 1, 2, 3};
    static uint16_t sockets[] = {0, 0, 1, 1};
    static uint32_t socket_cpus[] = {2, 2};
    static int32_t socket_ids[] = {0, 1};

    return (struct cb_topology){
        .n_cpus = 4,
        .n_sockets = 2,
        .cpu_limit = 4,
        .vendor = CB_CPU_INTEL,
        .cpus = cpus,
        .socket = sockets,
        .socket_cpus = socket_cpus,
        .socket_ids = socket_ids,
    };
}
