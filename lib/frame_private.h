/* SPDX-License-Identifier: Apache-2.0 */
/* frame_private.h - what the encoder and the decoder of a frame share: its rules and its columns.
 */
#ifndef CB_LIB_FRAME_PRIVATE_H
#define CB_LIB_FRAME_PRIVATE_H

#include "lib/frame.h"

/* Columns of 64-bit numbers are copied as they lie in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "columns are little-endian");

/* Bytes of one entry in the packed columns. */
#define CB_FRAME_ENERGY_BYTES 20  /* u16 socket, u8 domain, u8 source, u64 energy, u64 error */
#define CB_FRAME_COUNTER_BYTES 10 /* u16 socket, u64 value */

/* The number of targets, events, ... is within the limits; -EMSGSIZE names the one that is not. */
int cb_frame_check_limits(const struct cb_frame *frame, struct cb_err *err) cb_must_check;

/* Every rule of frame.h beyond the limits. A breach of form is -@code (EINVAL to encode, EBADMSG
 * to decode), a text that is too long -EMSGSIZE. */
int cb_frame_check(const struct cb_frame *frame, int code, struct cb_err *err) cb_must_check;

#endif
