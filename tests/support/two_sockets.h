/* SPDX-License-Identifier: Apache-2.0 */
/* two_sockets.h - the topology of a machine of Intel's with CPUs 0 and 1, and 2 and 3. */
#ifndef CB_TESTS_TWO_SOCKETS_H
#define CB_TESTS_TWO_SOCKETS_H

#include "sensor/topology.h"

/* Its arrays are shared; nobody writes to them. */
struct cb_topology two_sockets_topology(void);

#endif
