/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_private.h - what hwpc.c, hwpc_metadata.c and hwpc_reader.c share. */
#ifndef CB_LIB_HWPC_PRIVATE_H
#define CB_LIB_HWPC_PRIVATE_H

#include "lib/hwpc.h"

#define HWPC_MAX_MS UINT64_C(9000000000000) /* year 2255: nanoseconds still fit 64 bits */

/* @document is a json_t, borrowed; the report keeps a reference of its own. */
int cb_hwpc_from_json(void *document, struct cb_hwpc_report **ret_report,
                      struct cb_err *err) cb_must_check;

/* A new json_t: an integer where @value is whole. NULL: out of memory. */
void *cb_hwpc_number(double value);

#endif
