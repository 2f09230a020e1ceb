/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpc_metadata.h - what a report says about itself: its `metadata`, an object of any members, that
 * a formula puts into what it makes of the report. It lives as long as the report.
 */
#ifndef CB_LIB_HWPC_METADATA_H
#define CB_LIB_HWPC_METADATA_H

#include <stddef.h>

#include "lib/cleanup.h"

struct cb_err;
struct cb_hwpc_metadata; /* opaque */

#define CB_HWPC_MAX_METADATA 16384 /* bytes, as compact JSON */

/* Its members as JSON, `,"key":value` each, but the @n_without of those names; free() it. It is NULL
 * where it would be longer than CB_HWPC_MAX_METADATA. -ENOMEM */
int cb_hwpc_metadata_text(const struct cb_hwpc_metadata *metadata, const char *const *without,
                          size_t n_without, char **ret_text, struct cb_err *err) cb_must_check;

#endif
