/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_fold.h - frames of one machine, in the order of storing, to bins (stream.h). No input or
 * output: texts come and bins go through callbacks.
 *
 * A mark says what closed bins hold; a fold begun from a mark goes on behind it when it gets every
 * later frame again. Times of bins are BOOTTIME plus an anchor, which is the frames' own
 * REALTIME - BOOTTIME until that moves by more than CB_FOLD_STEP_NS: a clock that is stepped closes
 * the bin, one that is slewed does not.
 * Texts are kept from one bin to the next: a bin has those of its begin, or of when its target came.
 * A frame longer than CB_FOLD_PIECES_MAX bins is not split: it goes into the bin of its end.
 * After an error the fold is of no use any more.
 */
#ifndef CB_FORMULA_STREAM_FOLD_H
#define CB_FORMULA_STREAM_FOLD_H

#include "formula/result.h"
#include "formula/store.h"
#include "formula/stream.h"
#include "formula/usage.h"

#define CB_FOLD_STEP_NS (UINT64_C(250) * 1000 * 1000)
#define CB_FOLD_PIECES_MAX 3600

struct cb_fold_mark {
    int64_t frame;      /* frames up to it are whole in closed bins */
    int64_t part_frame; /* of this one closed bins hold what is before part_ns; 0: of none */
    uint64_t part_ns;
    int64_t boot, anchor_ns;
    bool any;        /* a bin was closed: */
    int64_t high_ns; /* highest wall_ns so far */
    int64_t last_ns; /* wall_ns and again of the last one */
    uint32_t last_again;
    uint32_t passes; /* how often time went back */
};

struct cb_fold_callbacks {
    void *context;
    int (*text)(void *context, struct cb_store_target *target, struct cb_err *err); /* or -ENOENT */
    /* Grows whenever a text that was known changes, for the machine of @boot. */
    int (*texts)(void *context, int64_t boot, uint64_t *ret_changes, struct cb_err *err);
    int (*boot_id)(void *context, int64_t boot, char ret_id[CB_BOOT_ID_SIZE], struct cb_err *err);
    int (*close)(void *context, const struct cb_stream_bin *bin, struct cb_err *err);
};

struct cb_fold;

/* @mark NULL: from the first frame. @callbacks is borrowed. */
int cb_fold_new(const char *machine, uint64_t resolution_ns, const struct cb_fold_mark *mark,
                const struct cb_fold_callbacks *callbacks, struct cb_fold **ret_fold,
                struct cb_err *err) cb_must_check;
struct cb_fold *cb_fold_free(struct cb_fold *fold);

/* What containers used besides energy goes into the bin of the frame's end, whole: @usage with its
 * @names, or NULL. */
int cb_fold_add(struct cb_fold *fold, const struct cb_store_frame *frame,
                const struct cb_result *result, const struct cb_usage *usage, const char *names,
                struct cb_err *err) cb_must_check;
/* Close the open bin, if there is one. */
int cb_fold_flush(struct cb_fold *fold, struct cb_err *err) cb_must_check;
bool cb_fold_is_open(const struct cb_fold *fold);
/* The first frame that the open bin has something of. */
int64_t cb_fold_open_frame(const struct cb_fold *fold);
const struct cb_fold_mark *cb_fold_mark(const struct cb_fold *fold);

#endif
